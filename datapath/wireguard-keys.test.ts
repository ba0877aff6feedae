/** The files of WireGuard's private keys: made once, for root only, named by their public half. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { WireguardKeys } from './wireguard-keys.ts';

let folder = '';
const file = (): string => join(folder, 'wireguard.key');
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'axt-wireguard-keys-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('the key is made once, is for root only, and stays over starts', () => {
  const key = new WireguardKeys(folder).publicKey();
  expect(statSync(file()).mode & 0o777).toBe(0o600);
  expect(new WireguardKeys(folder).publicKey()).toBe(key);
  expect(Buffer.from(key, 'base64').length).toBe(32);
  expect(new WireguardKeys(folder).privateKeyOf(key)?.toString('base64')).toBe(readFileSync(file(), 'utf8').trim());
});

test('the public half is that of RFC 7748, section 6.1', () => {
  const privateKey = '77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a';
  const publicKey = '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a';
  const base64 = (hex: string): string => Buffer.from(hex, 'hex').toString('base64');
  writeFileSync(file(), `${base64(privateKey)}\n`, { mode: 0o600 });
  expect(new WireguardKeys(folder).publicKey()).toBe(base64(publicKey));
});

test('a key that was replaced is found until the next one is', () => {
  const keys = new WireguardKeys(folder);
  const [first, second, third] = [keys.publicKey(), keys.rotate(), keys.rotate()];
  expect(keys.publicKey()).toBe(third);
  expect(keys.privateKeyOf(first)).toBeUndefined();
  expect(keys.privateKeyOf(second)?.length).toBe(32);
  expect(keys.privateKeyOf(third)?.length).toBe(32);
});

test('a file that others may read, or that has no key, is refused without being repeated', () => {
  const keys = new WireguardKeys(folder);
  keys.publicKey();
  chmodSync(file(), 0o644);
  expect(() => keys.publicKey()).toThrow(/wireguard.key has mode 644, expected 600/);
  writeFileSync(file(), 'secret-but-short');
  chmodSync(file(), 0o600);
  expect(() => keys.publicKey()).toThrow(/wireguard.key is no key, expected 32 bytes in base64$/);
});
