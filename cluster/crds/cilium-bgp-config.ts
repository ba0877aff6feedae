/** What users write of BGP: which nodes peer with whom (cluster config), how (peer config), and exceptions for a node. */
import { type Static, Type } from 'typebox';
import { age, type Crd } from './definition.ts';
import { conditions, labelSelector, portNumber, text } from './shared.ts';

export const asNumber = Type.Integer({ format: 'int64', minimum: 1, maximum: 4294967295 });
export const instanceName = Type.String({ minLength: 1, maxLength: 255 });
export const bgpCategories = ['ciliumbgp'];
const status = Type.Optional(Type.Object({ conditions: Type.Optional(conditions) }));
const localPort = Type.Optional(portNumber);
const seconds = (minimum: number, value: number) =>
  Type.Optional(Type.Integer({ format: 'int32', minimum, maximum: 2147483647, default: value }));

export const ciliumBgpClusterConfigSchema = Type.Object({
  spec: Type.Object({
    bgpInstances: Type.Array(
      Type.Object({
        localASN: Type.Optional(asNumber),
        localPort,
        name: instanceName,
        peers: Type.Optional(
          Type.Array(
            Type.Object({
              autoDiscovery: Type.Optional(
                Type.Object({
                  defaultGateway: Type.Optional(Type.Object({ addressFamily: Type.Enum(['ipv4', 'ipv6']) })),
                  mode: Type.Enum(['DefaultGateway']),
                }),
              ),
              name: instanceName,
              peerASN: Type.Optional(Type.Integer({ format: 'int64', minimum: 0, maximum: 4294967295 })),
              peerAddress: Type.Optional(text()),
              peerConfigRef: Type.Optional(Type.Object({ name: text() })),
            }),
            { maxItems: 128 },
          ),
        ),
      }),
      { minItems: 1, maxItems: 16 },
    ),
    nodeSelector: Type.Optional(labelSelector),
  }),
  status,
});
export type CiliumBgpClusterConfig = Static<typeof ciliumBgpClusterConfigSchema>;

export const ciliumBgpPeerConfigSchema = Type.Object({
  spec: Type.Object({
    authSecretRef: Type.Optional(text('A Secret with the key `password`.')),
    ebgpMultihop: Type.Optional(Type.Integer({ format: 'int32', minimum: 1, maximum: 255, default: 1 })),
    families: Type.Optional(
      Type.Array(
        Type.Object({
          advertisements: Type.Optional(labelSelector),
          afi: Type.Enum(['ipv4', 'ipv6', 'l2vpn', 'ls', 'opaque']),
          safi: Type.Enum([
            'unicast',
            'multicast',
            'mpls_label',
            'encapsulation',
            'vpls',
            'evpn',
            'ls',
            'sr_policy',
            'mup',
            'mpls_vpn',
            'mpls_vpn_multicast',
            'route_target_constraints',
            'flowspec_unicast',
            'flowspec_vpn',
            'key_value',
          ]),
        }),
      ),
    ),
    gracefulRestart: Type.Optional(
      Type.Object({
        enabled: Type.Boolean(),
        restartTimeSeconds: Type.Optional(Type.Integer({ format: 'int32', minimum: 1, maximum: 4095, default: 120 })),
      }),
    ),
    timers: Type.Optional(
      Type.Object({
        connectRetryTimeSeconds: seconds(1, 120),
        holdTimeSeconds: seconds(3, 90),
        keepAliveTimeSeconds: seconds(1, 30),
      }),
    ),
    transport: Type.Optional(
      Type.Object({
        peerPort: Type.Optional(Type.Integer({ format: 'int32', minimum: 1, maximum: 65535, default: 179 })),
        sourceInterface: Type.Optional(text()),
      }),
    ),
  }),
  status,
});
export type CiliumBgpPeerConfig = Static<typeof ciliumBgpPeerConfigSchema>;

export const ciliumBgpNodeConfigOverrideSchema = Type.Object({
  spec: Type.Object({
    bgpInstances: Type.Array(
      Type.Object({
        localASN: Type.Optional(asNumber),
        localPort,
        name: instanceName,
        peers: Type.Optional(
          Type.Array(Type.Object({ localAddress: Type.Optional(text()), localPort, name: instanceName })),
        ),
        routerID: Type.Optional(text('An IPv4 address.')),
      }),
      { minItems: 1 },
    ),
  }),
});
export type CiliumBgpNodeConfigOverride = Static<typeof ciliumBgpNodeConfigOverrideSchema>;

const both = (
  schema:
    | typeof ciliumBgpClusterConfigSchema
    | typeof ciliumBgpPeerConfigSchema
    | typeof ciliumBgpNodeConfigOverrideSchema,
): Crd['versions'] => [
  { name: 'v2', schema, columns: [age] },
  { name: 'v2alpha1', schema, columns: [age] },
];

export const ciliumBgpClusterConfig: Crd = {
  kind: 'CiliumBGPClusterConfig',
  plural: 'ciliumbgpclusterconfigs',
  shortNames: ['cbgpcluster'],
  categories: bgpCategories,
  scope: 'Cluster',
  status: true,
  versions: both(ciliumBgpClusterConfigSchema),
};

export const ciliumBgpPeerConfig: Crd = {
  kind: 'CiliumBGPPeerConfig',
  plural: 'ciliumbgppeerconfigs',
  shortNames: ['cbgppeer'],
  categories: bgpCategories,
  scope: 'Cluster',
  status: true,
  versions: both(ciliumBgpPeerConfigSchema),
};

export const ciliumBgpNodeConfigOverride: Crd = {
  kind: 'CiliumBGPNodeConfigOverride',
  plural: 'ciliumbgpnodeconfigoverrides',
  shortNames: ['cbgpnodeoverride'],
  categories: bgpCategories,
  scope: 'Cluster',
  versions: both(ciliumBgpNodeConfigOverrideSchema),
};
