/** CiliumLocalRedirectPolicy: traffic to an address or a service is redirected to a pod of the same node. */
import { type Static, Type } from 'typebox';
import type { Crd } from './definition.ts';
import { labelSelector, oneOfFields, text } from './shared.ts';

const portInfo = Type.Object({
  name: Type.Optional(text('Required when there are several ports.')),
  port: Type.String({ pattern: '^()([1-9]|[1-5]?[0-9]{2,4}|6[1-4][0-9]{3}|65[1-4][0-9]{2}|655[1-2][0-9]|6553[1-5])$' }),
  protocol: Type.Enum(['TCP', 'UDP']),
});

const addressMatcher = Type.Object({
  ip: Type.String({ description: 'An IPv4 or IPv6 address that is no CIDR.', minLength: 2, maxLength: 45 }),
  toPorts: Type.Array(portInfo),
});

const serviceMatcher = Type.Object({
  namespace: text(),
  serviceName: text(),
  toPorts: Type.Optional(Type.Array(portInfo)),
});

/** Cilium keeps the spec immutable by a CEL rule; the API server that evaluates CEL does too. */
const immutable = { 'x-kubernetes-validations': [{ message: 'spec is immutable', rule: 'self == oldSelf' }] };

export const ciliumLocalRedirectPolicySchema = Type.Object({
  spec: Type.Object(
    {
      description: Type.Optional(text()),
      redirectBackend: Type.Object({ localEndpointSelector: labelSelector, toPorts: Type.Array(portInfo) }),
      redirectFrontend: Type.Object(
        { addressMatcher: Type.Optional(addressMatcher), serviceMatcher: Type.Optional(serviceMatcher) },
        oneOfFields('addressMatcher', 'serviceMatcher'),
      ),
      skipRedirectFromBackend: Type.Optional(Type.Boolean({ default: false })),
    },
    immutable,
  ),
});
export type CiliumLocalRedirectPolicy = Static<typeof ciliumLocalRedirectPolicySchema>;

export const ciliumLocalRedirectPolicy: Crd = {
  kind: 'CiliumLocalRedirectPolicy',
  plural: 'ciliumlocalredirectpolicies',
  shortNames: ['clrp'],
  categories: ['ciliumpolicy'],
  scope: 'Namespaced',
  versions: [{ name: 'v2', schema: ciliumLocalRedirectPolicySchema }],
};
