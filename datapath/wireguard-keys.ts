/**
 * This node's WireGuard private keys: files below the state folder that only root reads. They leave here for the kernel only.
 *
 * - `wireguard.key` is the key in use, made at the first start; `wireguard-old.key` the one before it, for as long as rows may name it.
 * - A key is named by its public half, which is what rows, events and objects carry.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { closeSync, fstatSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const KEY_BYTES = 32;
const OTHERS = 0o077;
/** DER of an X25519 private key up to its 32 bytes (RFC 8410). */
const PKCS8_HEAD = Buffer.from('302e020100300506032b656e04220420', 'hex');

/** Of the key in use, below the state folder. */
export const KEY_FILE = 'wireguard.key';

export class WireguardKeys {
  readonly #current: string;
  readonly #old: string;

  constructor(stateDir: string) {
    this.#current = join(stateDir, KEY_FILE);
    this.#old = join(stateDir, 'wireguard-old.key');
  }

  /** The public half of the key in use; makes the key when there is none. */
  publicKey(): string {
    const key = read(this.#current);
    return publicOf(key ?? make(this.#current));
  }

  /** Replaces the key in use, and keeps it as the old one; the new public half. */
  rotate(): string {
    if (read(this.#current) !== undefined) write(this.#old, readFileSync(this.#current, 'utf8'));
    return publicOf(make(this.#current));
  }

  /** The private half of a public key; undefined when it is not ours. Not to be kept. */
  privateKeyOf(publicKey: string): Buffer | undefined {
    for (const path of [this.#current, this.#old]) {
      const key = read(path);
      if (key && publicOf(key) === publicKey) return key;
    }
    return undefined;
  }
}

/** 32 bytes; throws a TypeError that does not repeat the text. */
export function parseKey(text: string, what: string): Buffer {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length !== KEY_BYTES || bytes.toString('base64') !== text) {
    throw new TypeError(`${what} is no key, expected ${KEY_BYTES} bytes in base64`);
  }
  return bytes;
}

function publicOf(key: Buffer): string {
  const der = Buffer.concat([PKCS8_HEAD, key]);
  const { x } = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })).export({ format: 'jwk' });
  return Buffer.from(String(x), 'base64url').toString('base64');
}

function make(path: string): Buffer {
  const { d } = generateKeyPairSync('x25519').privateKey.export({ format: 'jwk' });
  const key = Buffer.from(String(d), 'base64url');
  write(path, `${key.toString('base64')}\n`);
  return key;
}

/** Whole or not at all, also when the power goes. */
function write(path: string, text: string): void {
  const next = `${path}-next`;
  rmSync(next, { force: true });
  const fd = openSync(next, 'wx', 0o600);
  try {
    writeFileSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(next, path);
}

function read(path: string): Buffer | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const { mode } = fstatSync(fd);
    if ((mode & OTHERS) !== 0) {
      throw new TypeError(
        `${path} has mode ${(mode & 0o777).toString(8)}, expected 600: its key may be known to others`,
      );
    }
    return parseKey(readFileSync(fd, 'utf8').trim(), path);
  } finally {
    closeSync(fd);
  }
}
