// An HTTP/2 client (h2c). `node client.js URL CASE`; prints what it saw as JSON.
'use strict';
const http2 = require('http2');
const { createHash } = require('crypto');

const [url, which] = process.argv.slice(2);

function call(session, fields, { body, trailers, reset } = {}) {
  return new Promise((done) => {
    // The same host wherever it goes, so that what the service receives is the same.
    const head = { ':authority': 'orders.example', ...fields };
    const stream = session.request(head, { endStream: body === undefined && !trailers && !reset, waitForTrailers: !!trailers });
    const seen = { path: fields[':path'], interim: [] };
    const parts = [];
    stream.on('headers', (h) => seen.interim.push(h[':status']));
    stream.on('response', (h) => { const { date, ...rest } = h; seen.head = { ...rest }; });
    stream.on('trailers', (h) => { seen.trailers = { ...h }; });
    stream.on('data', (part) => parts.push(part));
    stream.on('error', (e) => { seen.error = e.code; });
    stream.on('close', () => {
      const all = Buffer.concat(parts);
      seen.rst = stream.rstCode;
      seen.length = all.length;
      seen.sha = createHash('sha1').update(all).digest('hex');
      if (all.length < 2000) seen.text = all.toString();
      done(seen);
    });
    if (trailers) stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    if (reset) {
      stream.write('some');
      setTimeout(() => stream.close(http2.constants.NGHTTP2_CANCEL), 30);
    } else if (body !== undefined) {
      stream.end(body);
    }
  });
}

const post = (path, more = {}) => ({ ':method': 'POST', ':path': path, ...more });

const cases = {
  async mixed(session) {
    session.on('stream', (pushed, h) => {
      pushed.resume();
      pushed.on('close', () => { pushes.push(h[':path']); });
    });
    const pushes = [];
    const results = await Promise.all([
      call(session, { ':path': '/v1/orders?x=1', cookie: 'a=b; c=d', 'x-many': ['1', '2'] }),
      call(session, post('/v1/orders', { 'content-type': 'application/json' }), { body: '{"password":"hunter2","n":1}' }),
      call(session, post('/v1/upload', { 'content-length': 3000000 }), { body: Buffer.alloc(3_000_000, 'b') }),
      call(session, post('/v1/trailed'), { body: 'abc', trailers: { 'x-end': 'yes' } }),
      call(session, { ':method': 'HEAD', ':path': '/v1/orders' }),
      call(session, { ':path': '/download' }),
      call(session, { ':path': '/interim' }),
      call(session, { ':path': '/push' }),
      call(session, { ':method': 'DELETE', ':path': '/denied' }),
      call(session, post('/broken'), { body: 'x' }),
      call(session, post('/hang'), { reset: true }),
    ]);
    return { results, pushes };
  },
  async parallel(session) {
    const all = Array.from({ length: 200 }, (_, n) => call(session, post(`/v1/items/${n}`, { 'x-n': `${n}` }), { body: `body ${n}` }));
    return (await Promise.all(all)).map((r) => [r.head[':status'], JSON.parse(r.text).length]);
  },
  async tunnel(session) {
    await new Promise((ready) => session.once('remoteSettings', ready));
    const ask = (protocol) => new Promise((done) => {
      const stream = session.request({ ':method': 'CONNECT', ':protocol': protocol, ':path': '/ws', ':authority': 'a' });
      stream.on('response', (h) => {
        if (h[':status'] !== 200) { stream.resume(); return stream.on('close', () => done(h[':status'])); }
        stream.end('ping');
      });
      let text = '';
      stream.on('data', (part) => { text += part; });
      stream.on('end', () => { if (text) done(text); });
      stream.on('error', () => {});
    });
    return [await ask('websocket'), await ask('connect-udp')];
  },
  // A stream that must not pass between two that do.
  async refused(session) {
    const bad = { ':method': 'POST', ':path': '/a#b' };
    const large = Buffer.alloc(1_000_000, 'x');
    const first = call(session, post('/slow'), { body: 'x' });
    const refused = await call(session, bad, { body: large });
    const after = await call(session, post('/v1/after', { 'x-new': 'value' }), { body: large });
    return [await first, refused, after].map((r) => [r.head && r.head[':status'], r.rst, r.length > 0]);
  },
  // The early answer of a service that resets the rest.
  async early(session) {
    const r = await call(session, post('/early'), { body: Buffer.alloc(1_000_000, 'x') });
    return [r.head[':status'], r.text];
  },
  // Strict calls of every shape among others, all at once.
  async strict(session) {
    const same = { 'x-same': 'one value', 'x-other': 'another' };
    const large = Buffer.alloc(300_000, 's');
    const all = await Promise.all([
      call(session, post('/slow', same), { body: 'x' }),
      call(session, post('/strict/order', { ...same, 'content-type': 'application/json' }), { body: '{"n":1}' }),
      call(session, post('/v1/upload', same), { body: large }),
      call(session, { ':method': 'DELETE', ':path': '/strict/gone', ...same }),
      call(session, post('/strict/trailed', same), { body: 'abc', trailers: { 'x-end': 'yes' } }),
      call(session, post('/strict/large', { ...same, 'content-length': large.length }), { body: large }),
      call(session, { ':path': '/strict/read', ...same }),
      call(session, { ':path': '/download', ...same }),
      call(session, post('/v1/orders', same), { body: 'after' }),
    ]);
    const again = await call(session, post('/v1/again', same), { body: large });
    return [...all, again].map((r) => ({ ...r, head: r.head && r.head[':status'], type: r.head && r.head['content-type'] }));
  },
  async slow(session) {
    console.log('started');
    const r = await call(session, post('/slow'), { body: 'x' });
    await new Promise((done) => session.on('close', done));
    return [r.head[':status'], r.text];
  },
  async closed(session) {
    return await call(session, post('/a'), { body: 'x' });
  },
};

const session = http2.connect(url, { settings: { enablePush: true } });
const codes = [];
session.on('goaway', (code) => codes.push(code));
session.on('error', (e) => codes.push(e.code));
cases[which](session).then((seen) => {
  console.log(JSON.stringify(which === 'closed' ? { seen, codes } : seen, null, 1));
  session.close();
  setTimeout(() => process.exit(0), 50);
}, (e) => { console.error(e); process.exit(1); });
