// A WebSocket client: texts, binary, more than a frame of the sidecar's buffers, a close with a reason.
// `NODE_PATH=… NODE_EXTRA_CA_CERTS=CA node ws.js URL…`
'use strict';
const WebSocket = require('ws');

function talk(url) {
  const said = ['hello', 'ü'.repeat(200_000), Buffer.from([0, 1, 255])];
  return new Promise((done, fail) => {
    const seen = [];
    const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/ws`);
    socket.on('open', () => said.forEach((message) => socket.send(message)));
    socket.on('message', (data, binary) => {
      seen.push([binary, data.length, data.equals(Buffer.from(said[seen.length]))]);
      if (seen.length === said.length) socket.close(4001, 'enough');
    });
    socket.on('close', (code, reason) => done([...seen, [code, String(reason)]]));
    socket.on('error', fail);
  });
}

(async () => {
  for (const url of process.argv.slice(2)) console.log(JSON.stringify(await talk(url)));
})();
