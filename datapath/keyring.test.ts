/** IPsec's Secret: what is read, what is refused and how it is said, and what a key is told by. */
import { describe, expect, test } from 'vitest';
import { Keyring, parseKeys } from './keyring.ts';

const HEX = '44434241343332312423222114131211f4f3f2f1';
const line = `3 rfc4106(gcm(aes)) ${HEX} 128`;

describe('the Secret of IPsec keys', () => {
  test('has a line for each key, the one to be used last', () => {
    const other = `4+ rfc4106(gcm(aes)) 0x${HEX.replace('4', '5')} 128`;
    const names = new Keyring().load(`${line}\n\n${other}\n`);
    expect(names.map(({ id }) => id)).toEqual([3, 4]);
    expect(names[0]?.fingerprint).toMatch(/^[0-9a-f]{16}$/);
    expect(names[0]?.fingerprint).not.toBe(names[1]?.fingerprint);
  });

  test.each([
    ['', 'keys is empty'],
    ['3 rfc4106(gcm(aes)) 128', 'line 1 has 3 words, expected ID rfc4106(gcm(aes)) HEXKEY 128'],
    [`0 rfc4106(gcm(aes)) ${HEX} 128`, 'line 1 has no id from 1 to 15'],
    [`16 rfc4106(gcm(aes)) ${HEX} 128`, 'line 1 has no id from 1 to 15'],
    [`x rfc4106(gcm(aes)) ${HEX} 128`, 'line 1 has no id from 1 to 15'],
    [`3 cbc(aes) ${HEX} 128`, 'line 1 is not for rfc4106(gcm(aes))'],
    [`3 rfc4106(gcm(aes)) ${HEX}0 128`, 'a key of 41 hexadecimal digits, expected 40, 56, 72'],
    [`3 rfc4106(gcm(aes)) ${HEX.replace('4', 'g')} 128`, 'a key that is not hexadecimal'],
    [`3 rfc4106(gcm(aes)) ${'00'.repeat(20)} 128`, 'a key of one byte repeated'],
    [`3 rfc4106(gcm(aes)) ${HEX} 100`, 'the check value, expected 64, 96, 128'],
    [`${line}\n${line}`, 'id 3 twice'],
  ])('%j is refused, and the complaint does not repeat the key', (text, complaint) => {
    expect(() => parseKeys(text)).toThrow(complaint);
    try {
      parseKeys(text);
    } catch (error) {
      expect(String(error)).not.toContain(HEX.slice(1, 12));
    }
  });

  test('each direction of each pair of nodes has a key of its own, which is known again', () => {
    const keyring = new Keyring();
    const [{ fingerprint } = { fingerprint: '' }] = keyring.load(line);
    const ends = ['10.9.0.1', '10.9.0.2', 'fd09::1'];
    const pairs = ends.flatMap((src) => ends.filter((dst) => dst !== src).map((dst) => [src, dst] as const));
    const keys = pairs.map(([src, dst]) => keyring.derive(src, dst, 3, fingerprint)?.key as Buffer);
    expect(new Set([HEX, ...keys.map((key) => key.toString('hex'))]).size).toBe(pairs.length + 1);
    expect(keys[0]?.length).toBe(20);
    expect(keyring.recognize('10.9.0.1', '10.9.0.2', 3, keys[0] as Buffer)).toBe(fingerprint);
    expect(keyring.recognize('10.9.0.2', '10.9.0.1', 3, keys[0] as Buffer)).toBeUndefined();
    expect(keyring.derive('10.9.0.1', '10.9.0.2', 4, fingerprint)).toBeUndefined();
  });

  test('both ends derive the same key, today and tomorrow', () => {
    const keyring = new Keyring();
    const [{ fingerprint } = { fingerprint: '' }] = keyring.load(line);
    expect(fingerprint).toMatchInlineSnapshot(`"a19ca8b43366c33a"`);
    expect(keyring.derive('10.9.0.1', '10.9.0.2', 3, fingerprint)?.key.toString('hex')).toMatchInlineSnapshot(
      `"5ef2fe1ea908dec6d6d8472aff37e48b43cba457"`,
    );
  });
});
