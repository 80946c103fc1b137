// Opens a page in Chromium and prints the result that the page writes on its console.
// `CHROMIUM=… node browse.js URL…`
'use strict';
const { spawn } = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');

function browse(url) {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'sidelog-chromium-'));
  // The certificate is the test's own; a sandbox is not to be had everywhere.
  const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-proxy-server',
    '--ignore-certificate-errors', '--remote-debugging-port=0', '--enable-logging=stderr',
    `--user-data-dir=${profile}`];
  const browser = spawn(process.env.CHROMIUM, [...flags, `${url}/page`], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  let result;
  return new Promise((done, fail) => {
    browser.stderr.on('data', (part) => {
      said += part;
      result ??= /CONSOLE:\d+\] "RESULT (.*)", source:/.exec(said)?.[1];
      if (result) browser.kill('SIGKILL');
    });
    browser.on('error', fail);
    browser.on('close', () => {
      fs.rmSync(profile, { recursive: true, force: true });
      if (result) done(result); else fail(new Error(said));
    });
    setTimeout(() => browser.kill('SIGKILL'), 20_000).unref();
  });
}

(async () => {
  for (const url of process.argv.slice(2)) console.log(await browse(url));
})();
