// Node's HTTP server, with its lenient parser when told `insecure`.
const fs = require('fs');
const server = require('http').createServer({insecureHTTPParser: process.argv[2] === 'insecure'});
server.on('request', (request, response) => {
  const parts = [];
  request.on('error', () => {});
  request.on('data', part => parts.push(part));
  request.on('end', () => {
    const {method, url: target} = request;
    fs.writeSync(1, JSON.stringify({method, target, body: Buffer.concat(parts).toString('hex')}) + '\n');
    const found = target.match(/\/([msp]\/\d+)/);
    response.setHeader('X-Mark', found ? found[1] : 'none');
    response.setHeader('Content-Length', '2');
    response.end('ok');
  });
});
server.listen(0, '127.0.0.1', 512, () => fs.writeSync(1, `ready port=${server.address().port}\n`));
