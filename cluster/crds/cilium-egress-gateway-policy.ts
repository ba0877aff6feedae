/** CiliumEgressGatewayPolicy: traffic of selected pods leaves through a gateway node, with its address. */
import { type Static, Type } from 'typebox';
import { age, type Crd } from './definition.ts';
import { cidr, labelSelector, text } from './shared.ts';

const gateway = Type.Object(
  {
    egressIP: Type.Optional(text('The address to leave with; not together with `interface`.')),
    interface: Type.Optional(text('The device to leave through; not together with `egressIP`.')),
    nodeSelector: labelSelector,
  },
  { not: { required: ['egressIP', 'interface'] } },
);

export const ciliumEgressGatewayPolicySchema = Type.Object({
  spec: Type.Object({
    destinationCIDRs: Type.Array(cidr),
    egressGateway: gateway,
    egressGateways: Type.Optional(Type.Array(gateway)),
    excludedCIDRs: Type.Optional(Type.Array(cidr)),
    selectors: Type.Array(
      Type.Object({
        namespaceSelector: Type.Optional(labelSelector),
        nodeSelector: Type.Optional(labelSelector),
        podSelector: Type.Optional(labelSelector),
      }),
    ),
  }),
});
export type CiliumEgressGatewayPolicy = Static<typeof ciliumEgressGatewayPolicySchema>;

export const ciliumEgressGatewayPolicy: Crd = {
  kind: 'CiliumEgressGatewayPolicy',
  plural: 'ciliumegressgatewaypolicies',
  shortNames: ['cegp'],
  categories: ['ciliumpolicy'],
  scope: 'Cluster',
  versions: [{ name: 'v2', schema: ciliumEgressGatewayPolicySchema, columns: [age] }],
};
