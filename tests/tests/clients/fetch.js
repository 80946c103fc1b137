// `NODE_EXTRA_CA_CERTS=CA node fetch.js URL…`
'use strict';

async function* parts() {
  for (let n = 0; n < 3; n++) yield Buffer.alloc(100_000, 's');
}

async function calls(url) {
  const json = { 'content-type': 'application/json' };
  const octets = { 'content-type': 'application/octet-stream' };
  const all = [
    [`${url}/orders/1`],
    [`${url}/orders`, { method: 'POST', headers: json, body: '{"item":"tea","n":1}' }],
    [`${url}/orders/1/file`, { method: 'PUT', headers: octets, body: parts(), duplex: 'half' }],
    [`${url}/denied`, { method: 'POST', body: new URLSearchParams({ a: '1', b: '2' }) }],
    [`${url}/orders/1`, { method: 'DELETE' }],
  ];
  const seen = [];
  for (const call of all) {
    const answer = await fetch(...call);
    const text = await answer.text();
    seen.push([answer.status, text ? JSON.parse(text) : null]);
  }
  return seen;
}

(async () => {
  for (const url of process.argv.slice(2)) console.log(JSON.stringify(await calls(url)));
})();
