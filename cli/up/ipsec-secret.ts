/** The Secret of IPsec's keys, as an embedded cluster that encrypts with IPsec has it from the start. */
import { randomBytes } from 'node:crypto';
import type { KubeObject } from '../../cluster/events.ts';
import { type Fields, networkOf } from './network.ts';
import type { Objects } from './objects.ts';

const NAMESPACE = 'kube-system';
const NAME = 'cilium-ipsec-keys';
/** AES-128 and the salt of RFC 4106. */
const KEY_BYTES = 20;

/** A random key; as Cilium's documentation has the Secret. */
export const ipsecKeyLine = (id: number): string =>
  `${id} rfc4106(gcm(aes)) ${randomBytes(KEY_BYTES).toString('hex')} 128`;

const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** One that a manifest brought stays as it is. */
export function ensureIpsecSecret(objects: Objects, config: Fields): void {
  if (networkOf(config).encryption !== 'ipsec') return;
  if (objects.list('secrets', NAMESPACE).some(({ metadata }) => metadata.name === NAME)) return;
  objects.create('secrets', {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { namespace: NAMESPACE, name: NAME },
    type: 'Opaque',
    data: { keys: base64(ipsecKeyLine(1)) },
  } as KubeObject);
}
