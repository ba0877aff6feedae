/** Where the kernel has no WireGuard or IPsec, rows fail with what is missing, and nothing is left or made up. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { TableName } from '../../state/tables.ts';
import type { Op } from '../driver.ts';
import { Keyring } from '../keyring.ts';
import { type TestNamespace, testNamespace } from '../testdata/namespace.ts';
import { WireguardKeys } from '../wireguard-keys.ts';
import { WireguardDriver } from './wireguard.ts';
import { XfrmDriver } from './xfrm.ts';

let node: TestNamespace;
let folder: string;
beforeEach(() => {
  node = testNamespace('node');
  folder = mkdtempSync(join(tmpdir(), 'axt-missing-'));
});
afterEach(() => {
  node.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const put = (table: TableName, key: string, value: unknown): Op => ({
  ...{ table, key, value, before: undefined, action: 'put' },
  ...{ revision: 1, owners: [] },
});

test('WireGuard: a device is there or the row fails for good and says what is missing', () => {
  const keys = new WireguardKeys(folder);
  const driver = new WireguardDriver(keys, node.path);
  const row = { publicKey: keys.publicKey(), listenPort: 51_871, mtu: 1420, fwmark: 0 };
  const [result] = driver.apply([put('wireguard.devices', 'cilium_wg0', row)]);
  const there = driver.dump('wireguard.devices', new Map());
  if (result === undefined) expect(there).toEqual(new Map([['cilium_wg0', row]]));
  else {
    expect(result).toMatchObject({ errno: 'EOPNOTSUPP', retryable: false });
    expect(result.message).toContain('this kernel has no WireGuard');
    expect(result.message).toContain('npm run test:lab');
    expect(there).toEqual(new Map());
  }
  expect(driver.dump('wireguard.peers', new Map()).size).toBe(0);
});

test('IPsec: an association is there or the row fails, and deletes succeed', () => {
  const keyring = new Keyring();
  const [{ fingerprint } = { fingerprint: '' }] = keyring.load(`1 rfc4106(gcm(aes)) ${'0123456789'.repeat(4)} 128`);
  const driver = new XfrmDriver(keyring, node.path);
  const none = { mark: 0, markMask: 0, outputMark: 0, outputMarkMask: 0 };
  const row = { direction: 'out', src: '192.0.2.1', dst: '192.0.2.2', spi: 1, reqid: 120, mode: 'tunnel', fingerprint };
  const op = put('xfrm.states', '192.0.2.1>192.0.2.2/1', { ...row, ...none });
  const [result] = driver.apply([op]);
  expect(driver.dump('xfrm.states', new Map()).size).toBe(result === undefined ? 1 : 0);
  if (result) expect(result.message).toContain('this kernel has no IPsec');
  expect(driver.apply([{ ...op, action: 'delete', value: undefined }])).toEqual([undefined]);
  expect(driver.dump('xfrm.states', new Map()).size).toBe(0);
});
