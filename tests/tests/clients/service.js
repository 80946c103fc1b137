// Services without a dependency on what is tested: one of HTTP/1, one of HTTP/2 (h2c), one of pages with
// server-sent events and WebSockets. Each answers a call with what it received.
// `NODE_PATH=… node service.js PAGE`
'use strict';
const fs = require('fs');
const http = require('http');
const http2 = require('http2');
const { createHash } = require('crypto');
const { WebSocketServer } = require('ws');

function status({ method, url }) {
  if (url.endsWith('/denied')) return 403;
  if (method === 'DELETE') return 204;
  return method === 'POST' ? 201 : 200;
}

function echo(request, response) {
  const hash = createHash('sha256');
  let bytes = 0;
  request.on('data', (part) => { hash.update(part); bytes += part.length; });
  request.on('end', () => {
    const seen = { method: request.method, path: request.url, bytes, sha256: hash.digest('hex') };
    response.writeHead(status(request), { 'content-type': 'application/json' });
    response.end(status(request) === 204 ? undefined : JSON.stringify(seen));
  });
}

function page(request, response) {
  if (request.url.endsWith('/page')) {
    response.writeHead(200, { 'content-type': 'text/html' });
    return response.end(fs.readFileSync(process.argv[2]));
  }
  if (request.url.endsWith('/events')) {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    let n = 0;
    const timer = setInterval(() => response.write(`id: ${n}\ndata: event ${n++}\n\n`), 20);
    return request.socket.on('close', () => clearInterval(timer));
  }
  return echo(request, response);
}

function sockets(server) {
  const all = new WebSocketServer({ server, perMessageDeflate: true });
  all.on('connection', (socket) => socket.on('message', (data, binary) => socket.send(data, { binary })));
  return server;
}

const servers = {
  http: http.createServer(echo),
  http2: http2.createServer(echo),
  page: sockets(http.createServer(page)),
};
const listening = Object.entries(servers).map(([name, server]) => new Promise((ready) => {
  server.listen(0, '127.0.0.1', () => ready(`${name}=${server.address().port}`));
}));
Promise.all(listening).then((ports) => console.log(`service ready ${ports.join(' ')}`));
