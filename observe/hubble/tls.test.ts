/** Certificates: whose clients are served, and what becomes of those that are renewed or broken while we run. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ClientTls, HubbleClient } from './client.ts';
import { Servers } from './servers.ts';

const directory = mkdtempSync(join(tmpdir(), `axt-${process.pid}-tls-`));
const at = (file: string): string => join(directory, file);
const pem = (file: string): Buffer => readFileSync(at(file));
const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
const openssl = (...args: string[]): void => {
  execFileSync('openssl', args, { cwd: directory, stdio: ['ignore', 'ignore', 'ignore'] });
};

function authority(ca: string): void {
  openssl('req', '-x509', ...KEY, '-keyout', `${ca}.key`, '-out', `${ca}.crt`, '-days', '2', '-subj', `/CN=${ca}`);
}
function certificate(name: string, ca: string): void {
  const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=DNS:localhost'];
  openssl('req', ...KEY, '-keyout', `${name}.key`, '-out', `${name}.csr`, ...subject);
  const by = ['-CA', `${ca}.crt`, '-CAkey', `${ca}.key`, '-CAcreateserial', '-days', '2', '-copy_extensions', 'copy'];
  openssl('x509', '-req', '-in', `${name}.csr`, ...by, '-out', `${name}.crt`);
}
/** The server's files, replaced as a whole. */
function install(name: string): void {
  for (const kind of ['crt', 'key']) {
    writeFileSync(at(`new.${kind}`), pem(`${name}.${kind}`));
    renameSync(at(`new.${kind}`), at(`served.${kind}`));
  }
}

let servers: Servers;
let port: number;

async function status(tls: ClientTls): Promise<string> {
  const client = new HubbleClient(`127.0.0.1:${port}`, { serverName: 'localhost', ...tls });
  try {
    return (await client.status()).version;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    client.close();
  }
}
const mine = (ca = 'ca'): ClientTls => ({ ca: pem(`${ca}.crt`), cert: pem('client.crt'), key: pem('client.key') });

beforeAll(async () => {
  for (const ca of ['ca', 'other-ca']) authority(ca);
  certificate('first', 'ca');
  certificate('second', 'other-ca');
  certificate('client', 'ca');
  certificate('stranger', 'other-ca');
  install('first');
  port = await new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port: free } = probe.address() as { port: number };
      probe.close(() => resolve(free));
    });
  });
  servers = new Servers(
    {
      socket: at('hubble.sock'),
      listen: `127.0.0.1:${port}`,
      tlsCert: at('served.crt'),
      tlsKey: at('served.key'),
      tlsClientCa: at('ca.crt'),
    },
    {
      version: '1',
      versionHeader: 'hubble-server-version',
      flows: async function* () {},
      status: () => ({ num_flows: 0, max_flows: 0, seen_flows: 0, uptime_ns: 0, version: 'served', flows_rate: 0 }),
      namespaces: () => [],
    },
  );
  await servers.open();
}, 30_000);
afterAll(async () => {
  await servers?.close();
  rmSync(directory, { recursive: true, force: true });
});

it('serves its own, and neither strangers nor those who show nothing', async () => {
  expect(await status(mine())).toBe('served');
  expect(await status({ ca: pem('ca.crt') })).toMatch(/127.0.0.1/);
  const stranger = { cert: pem('stranger.crt'), key: pem('stranger.key') };
  expect(await status({ ca: pem('ca.crt'), ...stranger })).toMatch(/127.0.0.1/);
  expect(await status({})).toMatch(/127.0.0.1/);
  expect(await status(mine())).toBe('served');
}, 60_000);

it('takes a renewed certificate for new connections, and stays with the last good one', async () => {
  install('second');
  expect(await status(mine('other-ca'))).toBe('served');
  expect(await status(mine('ca'))).not.toBe('served');
  writeFileSync(at('served.crt'), 'no certificate');
  expect(await status(mine('other-ca'))).toBe('served');
  install('first');
  expect(await status(mine('ca'))).toBe('served');
}, 60_000);
