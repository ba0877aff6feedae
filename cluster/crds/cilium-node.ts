/** CiliumNode: a node's addresses, pod CIDRs and keys, as its agent tells the others. */
import { type Static, Type } from 'typebox';
import { encryptionKey } from './cilium-endpoint.ts';
import { age, type Crd } from './definition.ts';
import { anyObject, cidr, text } from './shared.ts';

export const nodeAddressTypes = ['InternalIP', 'ExternalIP', 'CiliumInternalIP', 'Hostname'] as const;

const optionalCount = (description: string) => Type.Optional(Type.Integer({ minimum: 0, description }));

const allocation = Type.Record(
  Type.String(),
  Type.Object({ owner: Type.Optional(text()), resource: Type.Optional(text()) }),
);

const ipam = Type.Object({
  'ipv6-pool': Type.Optional(allocation),
  'max-above-watermark': optionalCount(
    'Addresses to allocate beyond those needed to reach the pre-allocation watermark.',
  ),
  'max-allocate': optionalCount('The largest number of addresses that can be allocated to the node.'),
  'min-allocate': optionalCount('Addresses that must be allocated when the node is first bootstrapped.'),
  podCIDRs: Type.Optional(
    Type.Array(cidr, { description: 'PodCIDRs is the list of CIDRs available to the node for allocation.' }),
  ),
  pool: Type.Optional(allocation),
  pools: Type.Optional(
    Type.Object({
      allocated: Type.Optional(
        Type.Array(Type.Object({ cidrs: Type.Optional(Type.Array(cidr)), pool: Type.String({ minLength: 1 }) })),
      ),
      requested: Type.Optional(
        Type.Array(
          Type.Object({
            needed: Type.Optional(
              Type.Object({ 'ipv4-addrs': Type.Optional(Type.Integer()), 'ipv6-addrs': Type.Optional(Type.Integer()) }),
            ),
            pool: Type.String({ minLength: 1 }),
          }),
        ),
      ),
    }),
  ),
  'pre-allocate': optionalCount('Addresses that must be available for allocation at any time.'),
  'static-ip-tags': Type.Optional(Type.Record(Type.String(), Type.String())),
});

export const ciliumNodeSchema = Type.Object({
  spec: Type.Object({
    addresses: Type.Optional(
      Type.Array(Type.Object({ ip: Type.Optional(text()), type: Type.Optional(Type.Enum([...nodeAddressTypes])) }), {
        description: 'Addresses is the list of all node addresses.',
      }),
    ),
    'alibaba-cloud': Type.Optional(anyObject),
    azure: Type.Optional(anyObject),
    bootid: Type.Optional(text('BootID is a unique node identifier generated on boot')),
    encryption: Type.Optional(encryptionKey),
    eni: Type.Optional(anyObject),
    health: Type.Optional(Type.Object({ ipv4: Type.Optional(text()), ipv6: Type.Optional(text()) })),
    ingress: Type.Optional(Type.Object({ ipv4: Type.Optional(text()), ipv6: Type.Optional(text()) })),
    'instance-id': Type.Optional(text()),
    ipam: Type.Optional(ipam),
    nodeidentity: Type.Optional(Type.Integer({ format: 'int64' })),
  }),
  status: Type.Optional(
    Type.Object({
      'alibaba-cloud': Type.Optional(anyObject),
      azure: Type.Optional(anyObject),
      eni: Type.Optional(anyObject),
      ipam: Type.Optional(
        Type.Object({
          'assigned-static-ip': Type.Optional(text()),
          'ipv6-used': Type.Optional(allocation),
          'operator-status': Type.Optional(Type.Object({ error: Type.Optional(text()) })),
          'pod-cidrs': Type.Optional(
            Type.Record(
              Type.String(),
              Type.Object({ status: Type.Optional(Type.Enum(['released', 'depleted', 'in-use'])) }),
            ),
          ),
          'release-ips': Type.Optional(
            Type.Record(
              Type.String(),
              Type.Enum(['marked-for-release', 'ready-for-release', 'do-not-release', 'released']),
            ),
          ),
          'release-ipv6s': Type.Optional(
            Type.Record(
              Type.String(),
              Type.Enum(['marked-for-release', 'ready-for-release', 'do-not-release', 'released']),
            ),
          ),
          used: Type.Optional(allocation),
        }),
      ),
    }),
  ),
});
export type CiliumNode = Static<typeof ciliumNodeSchema>;

export const ciliumNode: Crd = {
  kind: 'CiliumNode',
  plural: 'ciliumnodes',
  shortNames: ['cn', 'ciliumn'],
  scope: 'Cluster',
  status: true,
  versions: [
    {
      name: 'v2',
      schema: ciliumNodeSchema,
      columns: [
        {
          jsonPath: '.spec.addresses[?(@.type=="CiliumInternalIP")].ip',
          name: 'CiliumInternalIP',
          type: 'string',
          description: 'Cilium internal IP for this node',
        },
        {
          jsonPath: '.spec.addresses[?(@.type=="InternalIP")].ip',
          name: 'InternalIP',
          type: 'string',
          description: 'IP of the node',
        },
        { ...age, description: 'Time duration since creation of Ciliumnode' },
      ],
    },
  ],
};
