/**
 * A certificate authority and a server certificate of its own, for the embedded API server.
 *
 * - ECDSA P-256; the authority's key is dropped after signing, so nothing else can ever be signed by it.
 * - kubectl sends a bearer token only over TLS, which is why the embedded server needs this.
 */
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import ipaddr from 'ipaddr.js';
import { bits, boolean, explicit, integer, objectId, octets, sequence, set, tagged, text, time } from './der.ts';

/** PEM texts. */
export interface ServerCertificate {
  ca: string;
  cert: string;
  key: string;
}

const oids = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  commonName: '2.5.4.3',
  subjectKeyId: '2.5.29.14',
  authorityKeyId: '2.5.29.35',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
};

const validDays = 365;
const dayMs = 86_400_000;

/** `hosts` are addresses and names under which the server is reached. */
export function createServerCertificate(hosts: readonly string[], now: Date): ServerCertificate {
  const authority = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const server = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const authorityId = randomBytes(20);
  const caName = name('axoneme embedded cluster');
  const ca = certificate(caName, caName, authority.publicKey, authority.privateKey, now, [
    extension(oids.basicConstraints, sequence(boolean(true)), true),
    // keyCertSign (bit 5) and cRLSign (bit 6)
    extension(oids.keyUsage, bits(Buffer.from([0b0000_0110]), 1), true),
    extension(oids.subjectKeyId, octets(authorityId)),
  ]);
  const cert = certificate(name('kube-apiserver'), caName, server.publicKey, authority.privateKey, now, [
    extension(oids.basicConstraints, sequence(), true),
    // digitalSignature (bit 0)
    extension(oids.keyUsage, bits(Buffer.from([0b1000_0000]), 7), true),
    extension(oids.extendedKeyUsage, sequence(objectId(oids.serverAuth))),
    extension(oids.authorityKeyId, sequence(tagged(0x80, authorityId))),
    extension(oids.subjectAltName, sequence(...hosts.map(alternativeName))),
  ]);
  return { ca: pem(ca), cert: pem(cert), key: server.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
}

function certificate(
  subject: Buffer,
  issuer: Buffer,
  publicKey: KeyObject,
  signer: KeyObject,
  now: Date,
  extensions: readonly Buffer[],
): Buffer {
  const algorithm = sequence(objectId(oids.ecdsaWithSha256));
  const body = sequence(
    explicit(0, integer(Buffer.from([2]))),
    integer(randomBytes(16)),
    algorithm,
    issuer,
    // An hour back, for clocks that disagree.
    sequence(time(new Date(now.getTime() - 3_600_000)), time(new Date(now.getTime() + validDays * dayMs))),
    subject,
    publicKey.export({ type: 'spki', format: 'der' }),
    explicit(3, sequence(...extensions)),
  );
  return sequence(body, algorithm, bits(sign('sha256', body, signer)));
}

const name = (common: string): Buffer => sequence(set(sequence(objectId(oids.commonName), text(common))));

const extension = (oid: string, value: Buffer, critical = false): Buffer =>
  sequence(objectId(oid), ...(critical ? [boolean(true)] : []), octets(value));

function alternativeName(host: string): Buffer {
  if (ipaddr.isValid(host)) return tagged(0x87, Buffer.from(ipaddr.parse(host).toByteArray()));
  return tagged(0x82, Buffer.from(host));
}

const pem = (der: Buffer): string =>
  `-----BEGIN CERTIFICATE-----\n${(der.toString('base64').match(/.{1,64}/g) ?? []).join('\n')}\n-----END CERTIFICATE-----\n`;
