// Node's HTTP server, with its lenient parser when told `insecure`.
const crypto = require('crypto');
const fs = require('fs');
// A connection that is kept is kept for as long as a busy machine may need.
const options = {insecureHTTPParser: process.argv[2] === 'insecure', keepAliveTimeout: 30000};
const server = require('http').createServer(options);
const GZIP = Buffer.from('1f8b08000000000002034b4c4fcccc5348cc4b514844650100363de8bb19000000', 'hex');
const LARGE = Buffer.alloc(1 << 20, Buffer.from(Array.from({length: 256}, (_, i) => i)));
const wait = ms => new Promise(done => setTimeout(done, ms));

/** What a target `/answer/KIND` asks for; `echo` tells all that the application saw. */
async function particular(kind, request, response, body) {
  const {method, url, rawHeaders, rawTrailers} = request;
  const sum = crypto.createHash('sha256').update(body).digest('hex');
  const said = Buffer.from([method, url, ...rawHeaders, ...rawTrailers, body.length, sum].join('\n'), 'latin1');
  const sized = bytes => {
    response.setHeader('Content-Length', bytes.length);
    response.end(bytes);
  };
  response.setHeader('Content-Type', 'text/plain');
  const pieces = ['one', 'two '.repeat(300), 'three'];
  switch (kind) {
    case '201': response.setHeader('Location', '/made/1'); // and as the others
    case '404':
    case '500': response.statusCode = Number(kind); return sized(said);
    case '204':
    case '304': response.statusCode = Number(kind); response.setHeader('ETag', '"x"'); return response.end();
    case 'gzip': response.setHeader('Content-Encoding', 'gzip'); return sized(GZIP);
    case 'cookies': response.setHeader('Set-Cookie', ['a=1; Path=/', 'b="2"; Secure', 'c=']); return sized(said);
    case 'large': return sized(LARGE);
    case 'empty': return sized(Buffer.alloc(0));
    case 'peer': return sized(Buffer.from(request.socket.remoteAddress));
    case 'close': response.setHeader('Connection', 'close'); return sized(said);
    case 'early': response.writeEarlyHints({link: '</a.css>; rel=preload'}); return sized(said);
    case 'fields':
      for (let i = 0; i < 60; i++) response.setHeader(`X-F-${i}`, i);
      response.setHeader('X-Long', 'v'.repeat(4000));
      response.setHeader('X-Empty', '');
      response.setHeader('x-lower', '\xe9');
      return sized(said);
    case 'large-pieces':
      for (let i = 0; i < 16; i++) response.write(LARGE.subarray(i << 16, (i + 1) << 16));
      return response.end();
    case 'sized-slow': response.setHeader('Content-Length', pieces.join('').length); // and as the others
    case 'pieces':
    case 'slow':
    case 'trailers':
            for (const piece of pieces) {
        response.write(piece);
        if (kind.includes('slow')) await wait(15);
      }
      if (kind === 'trailers') response.addTrailers({'X-Sum': '1'});
      return response.end();
    default: return sized(said);
  }
}

server.on('request', (request, response) => {
  const parts = [];
  request.on('error', () => {});
  request.on('data', part => parts.push(part));
  request.on('end', () => {
    const {method, url: target} = request;
    const body = Buffer.concat(parts);
    fs.writeSync(1, JSON.stringify({method, target, body: body.toString('hex')}) + '\n');
    const asked = target.match(/\/answer\/([a-z0-9-]+)/);
    if (asked) return particular(asked[1], request, response, body);
    const found = target.match(/\/([msp]\/\d+)/);
    response.setHeader('X-Mark', found ? found[1] : 'none');
    response.setHeader('Content-Length', '2');
    response.end('ok');
  });
});
server.listen(0, '127.0.0.1', 512, () => fs.writeSync(1, `ready port=${server.address().port}\n`));
