// An HTTP/2 service (h2c) that tells what it received. `node origin.js`; says its port when ready.
'use strict';
const http2 = require('http2');
const { createHash } = require('crypto');

const server = http2.createServer({ settings: { enableConnectProtocol: true } });

const told = (stream, headers, flags, raw, body, trailers) => JSON.stringify({
  fields: raw, length: body.length, sha: createHash('sha1').update(body).digest('hex'), trailers,
});

const routes = {
  '/download': (stream) => stream.end(Buffer.alloc(5_000_000, 'a')),
  '/interim': (stream) => {
    stream.additionalHeaders({ ':status': 103, link: '</style.css>' });
    stream.respond({ ':status': 200 });
    stream.end('after 103');
  },
  '/push': (stream) => stream.pushStream({ ':path': '/pushed' }, (error, pushed) => {
    if (error) throw error;
    pushed.respond({ ':status': 200 });
    pushed.end('pushed');
    stream.respond({ ':status': 200 });
    stream.end('pushing');
  }),
  '/denied': (stream) => { stream.respond({ ':status': 403 }); stream.end('no'); },
  '/slow': (stream) => setTimeout(() => { stream.respond({ ':status': 200 }); stream.end('late'); }, 700),
  '/hang': () => {},
};

server.on('stream', (stream, headers, flags, raw) => {
  stream.on('error', () => {});
  const path = headers[':path'];
  // Whatever is heard of a call is in the ledger, its end or not.
  console.log(`called ${headers[':method']} ${path}`);
  if (path === '/early') {
    stream.respond({ ':status': 413 });
    return stream.end('too much', () => stream.close(http2.constants.NGHTTP2_NO_ERROR));
  }
  if (path === '/broken') {
    // Breaks off when the client has got the half: it ends its request then.
    stream.respond({ ':status': 200 });
    stream.write('half');
    return stream.on('end', () => stream.destroy(new Error('broken'))).resume();
  }
  if (headers[':method'] === 'CONNECT') {
    stream.respond({ ':status': 200 });
    return stream.pipe(stream);
  }
  const parts = [];
  let trailers = null;
  stream.on('trailers', (fields) => { trailers = { ...fields }; });
  stream.on('data', (part) => parts.push(part));
  stream.on('end', () => {
    if (stream.destroyed) return;
    const route = routes[path];
    if (route) return route(stream);
    stream.respond({ ':status': 200, 'content-type': 'application/json', 'x-many': ['a', 'b'] }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-checksum': 'abc' }));
    stream.end(told(stream, headers, flags, raw, Buffer.concat(parts), trailers));
  });
});
server.on('sessionError', () => {});
server.listen(0, '127.0.0.1', () => console.log(`origin ready port=${server.address().port}`));
process.on('SIGTERM', () => process.exit(0));
process.stdin.on('end', () => process.exit(0)).resume();
