/** A node's keys as events: what is said of them, what is not, and what a wrong file or Secret changes. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KubeConfig } from '@kubernetes/client-node';
import type { Subscription } from 'rxjs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type ApiServer, startApiServer } from '../../cluster/api-server/index.ts';
import type { ClusterEvent, KubeObject } from '../../cluster/events.ts';
import type { AgentConfig } from '../agent-config.ts';
import { encryptionDefaults } from '../network-config.ts';
import { ipsecKeyLine } from '../up/ipsec-secret.ts';
import { type NodeKeys, nodeKeys } from './encryption.ts';

const PATIENCE_MS = 20_000;
let folder: string;
let server: ApiServer | undefined;
let subscription: Subscription | undefined;
let events: ClusterEvent[];
let lines: string[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'axt-keys-'));
  [events, lines] = [[], []];
});
afterEach(async () => {
  subscription?.unsubscribe();
  await server?.close();
  server = undefined;
  rmSync(folder, { recursive: true, force: true });
});

function listen(type: 'wireguard' | 'ipsec' | 'none', kube = new KubeConfig()): NodeKeys {
  const config = { stateDir: folder, encryption: { ...encryptionDefaults, type } } as AgentConfig;
  const keys = nodeKeys(config, kube, (line) => lines.push(line));
  subscription = keys.events$.subscribe((event) => events.push(event));
  return keys;
}
async function until(isSo: () => boolean): Promise<void> {
  for (const end = Date.now() + PATIENCE_MS; !isSo(); ) {
    if (Date.now() > end) throw new Error(`${JSON.stringify(events)}\n${lines.join('\n')}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

test('WireGuard: the public half is said at the start and after each rotation; a wrong file changes nothing', async () => {
  const { wireguard } = listen('wireguard');
  const first = wireguard.publicKey();
  expect(events).toEqual([{ type: 'wireguard.keyed', publicKey: first }]);
  const second = wireguard.rotate();
  await until(() => events.length === 2);
  expect(events[1]).toEqual({ type: 'wireguard.keyed', publicKey: second });
  const path = join(folder, 'wireguard.key');
  const secret = readFileSync(path, 'utf8').trim();
  chmodSync(path, 0o644);
  await until(() => lines.some((line) => line.includes('has mode 644, expected 600')));
  expect(events.length).toBe(2);
  expect(JSON.stringify([events, lines])).not.toContain(secret);
});

test('WireGuard: a key that cannot be read ends the start', () => {
  writeFileSync(join(folder, 'wireguard.key'), 'nonsense', { mode: 0o600 });
  expect(() => listen('wireguard')).toThrow('wireguard.key is no key');
});

test('IPsec: keys are named by id and fingerprint; a Secret that is malformed or gone changes nothing', async () => {
  server = await startApiServer({
    ...{ listeners: [{ host: '127.0.0.1', port: 0 }], tls: false, token: 'test' },
    ...{ database: ':memory:', crds: [] },
  });
  const secrets = server.store.registry.named('secrets');
  const objectOf = (keys: string): KubeObject => ({
    ...{ apiVersion: 'v1', kind: 'Secret' },
    metadata: { namespace: 'kube-system', name: 'cilium-ipsec-keys' },
    data: { keys: Buffer.from(keys).toString('base64') },
  });
  const kube = new KubeConfig();
  kube.loadFromString(server.kubeconfig({ server: server.url }));
  const { keyring } = listen('ipsec', kube);
  await until(() => lines.some((line) => line.includes('kube-system/cilium-ipsec-keys is not there')));
  const [one, two] = [ipsecKeyLine(1), ipsecKeyLine(2)];
  server.store.create(secrets, 'kube-system', objectOf(one), { fieldManager: 'test' });
  await until(() => events.length === 1);
  const write = (keys: string): void =>
    void server?.store.update(secrets, 'kube-system', 'cilium-ipsec-keys', objectOf(keys), { fieldManager: 'test' });
  write('2 rfc4106(gcm(aes)) deadbeef 128');
  await until(() => lines.some((line) => line.includes('a key of 8 hexadecimal digits, expected 40, 56, 72')));
  write(two);
  await until(() => events.length === 2);
  server.store.delete(secrets, 'kube-system', 'cilium-ipsec-keys', {});
  await until(() => lines.some((line) => line.includes('is gone; keys in use stay')));

  const named = events.map((event) => (event.type === 'ipsec.keyed' ? event.keys : []));
  expect(named.flat().map(({ id }) => id)).toEqual([1, 2]);
  for (const [{ id, fingerprint } = { id: 0, fingerprint: '' }] of named) {
    expect(keyring.derive('192.0.2.1', '192.0.2.2', id, fingerprint)?.key.length).toBe(20);
  }
  const said = JSON.stringify([events, lines]);
  for (const line of [one, two, 'x x deadbeef']) expect(said).not.toContain(line.split(' ')[2]);
});

test('without encryption nothing is said, and no key is made', () => {
  listen('none');
  expect(events).toEqual([]);
  expect(() => readFileSync(join(folder, 'wireguard.key'))).toThrow();
});
