/** One rule of a CiliumNetworkPolicy: who it is about, and what is allowed and denied in each direction. */
import { type Static, Type } from 'typebox';
import { egressPeers, ingressPeers, toFqdns } from './policy-peers.ts';
import { icmpRule, portDenyRule, portRule } from './policy-ports.ts';
import { labelSelector, oneOfFields, text } from './shared.ts';

const authentication = Type.Optional(Type.Object({ mode: Type.Enum(['disabled', 'required', 'test-always-fail']) }));
const icmps = Type.Optional(Type.Array(icmpRule));
const toPorts = Type.Optional(Type.Array(portRule));
const toPortsDeny = Type.Optional(Type.Array(portDenyRule));

export const ingressRule = Type.Object({ authentication, ...ingressPeers, icmps, toPorts });
export const egressRule = Type.Object({ authentication, ...egressPeers, toFQDNs: toFqdns, icmps, toPorts });
export const ingressDenyRule = Type.Object({ ...ingressPeers, icmps, toPorts: toPortsDeny });
export const egressDenyRule = Type.Object({ ...egressPeers, icmps, toPorts: toPortsDeny });

export const rule = Type.Object(
  {
    description: Type.Optional(text('Description is a free form string. It is only for people.')),
    egress: Type.Optional(Type.Array(egressRule)),
    egressDeny: Type.Optional(Type.Array(egressDenyRule)),
    enableDefaultDeny: Type.Optional(
      Type.Object({ egress: Type.Optional(Type.Boolean()), ingress: Type.Optional(Type.Boolean()) }),
    ),
    endpointSelector: Type.Optional(labelSelector),
    ingress: Type.Optional(Type.Array(ingressRule)),
    ingressDeny: Type.Optional(Type.Array(ingressDenyRule)),
    labels: Type.Optional(
      Type.Array(Type.Object({ key: text(), source: Type.Optional(text()), value: Type.Optional(text()) })),
    ),
    log: Type.Optional(Type.Object({ value: Type.Optional(Type.String({ maxLength: 32, pattern: '^[ -~]*$' })) })),
    nodeSelector: Type.Optional(labelSelector),
  },
  oneOfFields('endpointSelector', 'nodeSelector'),
);

export type PolicyRule = Static<typeof rule>;
export type IngressRule = Static<typeof ingressRule>;
export type EgressRule = Static<typeof egressRule>;
export type IngressDenyRule = Static<typeof ingressDenyRule>;
export type EgressDenyRule = Static<typeof egressDenyRule>;
