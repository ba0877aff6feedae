/**
 * IPsec keys: parsed from the Secret, kept in memory of this process only, and derived for each direction of each pair of nodes.
 *
 * - A key is named by its id and a fingerprint; neither says anything of the key. Errors never repeat what was in the Secret.
 * - A key that the Secret no longer has is kept until the process ends: associations of before a rotation may need repair.
 */
import { createHash, hkdfSync } from 'node:crypto';
import type { IpsecKey } from '../cluster/events.ts';

const KEY_ID_MAX = 15;
const ALGORITHM = 'rfc4106(gcm(aes))';
/** AES-128, -192 and -256, each with the four bytes of salt that RFC 4106 wants behind the key. */
const KEY_BYTES = [20, 28, 36] as const;
const ICV_BITS = [64, 96, 128] as const;
const FINGERPRINT_DIGITS = 16;
const FORM = `ID ${ALGORITHM} HEXKEY 128`;

export interface SecretKey {
  id: number;
  key: Buffer;
  icvBits: number;
}

/** What the kernel is given for one direction. */
export interface PairKey {
  algorithm: string;
  key: Buffer;
  icvBits: number;
  fingerprint: string;
}

export class Keyring {
  #keys = new Map<string, SecretKey & { fingerprint: string }>();

  /** Of the Secret as it is now; the keys' names, the one to be used last. */
  load(text: string): IpsecKey[] {
    return parseKeys(text).map((key) => {
      const fingerprint = fingerprintOf(key);
      this.#keys.set(`${key.id}/${fingerprint}`, { ...key, fingerprint });
      return { id: key.id, fingerprint };
    });
  }

  /** Undefined: no such key has been seen. */
  derive(src: string, dst: string, id: number, fingerprint: string): PairKey | undefined {
    const secret = this.#keys.get(`${id}/${fingerprint}`);
    if (!secret) return undefined;
    const info = `axoneme esp ${src} ${dst} ${id}`;
    const key = Buffer.from(hkdfSync('sha256', secret.key, '', info, secret.key.length));
    return { algorithm: ALGORITHM, key, icvBits: secret.icvBits, fingerprint };
  }

  /** Fingerprint of the key from which this one was derived; undefined when it is of none that has been seen. */
  recognize(src: string, dst: string, id: number, key: Buffer): string | undefined {
    for (const { id: known, fingerprint } of this.#keys.values()) {
      if (known === id && this.derive(src, dst, id, fingerprint)?.key.equals(key)) return fingerprint;
    }
    return undefined;
  }

  hasKeys(): boolean {
    return this.#keys.size > 0;
  }

  has(id: number): boolean {
    return [...this.#keys.values()].some((key) => key.id === id);
  }
}

/** Lines of `ID[+] rfc4106(gcm(aes)) HEXKEY ICVBITS`, as Cilium's Secret has them. Throws a TypeError. */
export function parseKeys(text: string): SecretKey[] {
  const lines = text.split('\n').map((line) => line.trim());
  const keys = lines.flatMap((line, at) => (line === '' ? [] : [parseKey(line, `keys, line ${at + 1}`)]));
  if (keys.length === 0) throw new TypeError(`keys is empty, expected ${FORM}`);
  const twice = keys.find(({ id }, at) => keys.findIndex((other) => other.id === id) !== at);
  if (twice) throw new TypeError(`keys has id ${twice.id} twice, expected another id for each key`);
  return keys;
}

function parseKey(line: string, where: string): SecretKey {
  const words = line.split(/\s+/);
  if (words.length !== 4) throw new TypeError(`${where} has ${words.length} words, expected ${FORM}`);
  const [id = '', algorithm = '', hex = '', icv = ''] = words;
  // A `+` asks for keys of their own for each pair of nodes, which is what everybody gets here.
  const number = /^\d{1,3}\+?$/.test(id) ? Number.parseInt(id, 10) : 0;
  if (number < 1 || number > KEY_ID_MAX) throw new TypeError(`${where} has no id from 1 to ${KEY_ID_MAX}`);
  if (algorithm !== ALGORITHM) throw new TypeError(`${where} is not for ${ALGORITHM}, the only algorithm`);
  const digits = hex.replace(/^0x/, '');
  if (!/^[0-9a-fA-F]*$/.test(digits)) throw new TypeError(`${where} has a key that is not hexadecimal`);
  if (!KEY_BYTES.some((bytes) => digits.length === 2 * bytes)) {
    throw new TypeError(
      `${where} has a key of ${digits.length} hexadecimal digits, expected ${KEY_BYTES.map((bytes) => 2 * bytes).join(', ')}`,
    );
  }
  if (!ICV_BITS.some((bits) => icv === String(bits))) {
    throw new TypeError(`${where} does not end with the bits of the check value, expected ${ICV_BITS.join(', ')}`);
  }
  const key = Buffer.from(digits, 'hex');
  if (key.every((byte) => byte === key[0]))
    throw new TypeError(`${where} has a key of one byte repeated, expected a random one`);
  return { id: number, key, icvBits: Number(icv) };
}

const fingerprintOf = ({ id, key, icvBits }: SecretKey): string =>
  createHash('sha256')
    .update(`axoneme fingerprint ${id} ${icvBits} `)
    .update(key)
    .digest('hex')
    .slice(0, FINGERPRINT_DIGITS);
