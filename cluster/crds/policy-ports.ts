/** The ports, ICMP types and L7 rules of a policy element. Semantics: policy/. */
import { type Static, Type } from 'typebox';
import { intOrString, oneOfFields, text, texts } from './shared.ts';

export const protocols = [
  'TCP',
  'UDP',
  'SCTP',
  'ICMP',
  'ICMPv6',
  'ANY',
  'VRRP',
  'IGMP',
  'GRE',
  'IPIP',
  'IPV6',
  'ESP',
  'AH',
] as const;

export const portProtocol = Type.Object({
  endPort: Type.Optional(
    Type.Integer({
      format: 'int32',
      minimum: 0,
      maximum: 65535,
      description: 'EndPort can only be an L4 port number.',
    }),
  ),
  port: Type.Optional(
    Type.String({
      description: 'An L4 port number, or the name of a port; "0" is every port of the protocol.',
      maxLength: 63,
      pattern:
        '^(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[0-9]{1,4})$|^([a-zA-Z0-9]-?)*[a-zA-Z](-?[a-zA-Z0-9])*$',
    }),
  ),
  protocol: Type.Optional(
    Type.Enum([...protocols], { description: 'The L4 protocol; omitted or ANY: TCP, UDP and SCTP.' }),
  ),
});

const secret = Type.Object({ name: text(), namespace: Type.Optional(text()) });

const tlsContext = Type.Object({
  certificate: Type.Optional(text('Key of the secret that holds the certificate; default tls.crt.')),
  privateKey: Type.Optional(text('Key of the secret that holds the private key; default tls.key.')),
  secret,
  trustedCA: Type.Optional(text('Key of the secret that holds the trusted authority; default ca.crt.')),
});

// Written so that a backtracking matcher takes linear time, unlike the nested repetition that Cilium gives to RE2.
export const fqdnName = Type.String({ maxLength: 255, pattern: '^[-a-zA-Z0-9_]+(\\.[-a-zA-Z0-9_]+)*\\.?$' });
export const fqdnPattern = Type.String({ maxLength: 255, pattern: '^[-a-zA-Z0-9_*]+(\\.[-a-zA-Z0-9_*]+)*\\.?$' });

const httpRule = Type.Object({
  headerMatches: Type.Optional(
    Type.Array(
      Type.Object({
        mismatch: Type.Optional(Type.Enum(['LOG', 'ADD', 'DELETE', 'REPLACE'])),
        name: Type.String({ minLength: 1 }),
        secret: Type.Optional(secret),
        value: Type.Optional(text()),
      }),
    ),
  ),
  headers: Type.Optional(texts('Each "Name" (present), or "Name value" / "Name: value" (equal).')),
  host: Type.Optional(text('A regular expression for the whole host.')),
  method: Type.Optional(text('A regular expression for the whole method.')),
  path: Type.Optional(text('A regular expression for the whole path with its query.')),
});

const kafkaRule = Type.Object({
  apiKey: Type.Optional(text()),
  apiVersion: Type.Optional(text()),
  clientID: Type.Optional(text()),
  role: Type.Optional(Type.Enum(['produce', 'consume'])),
  topic: Type.Optional(Type.String({ maxLength: 255 })),
});

const dnsRule = Type.Object(
  { matchName: Type.Optional(fqdnName), matchPattern: Type.Optional(fqdnPattern) },
  oneOfFields('matchName', 'matchPattern'),
);

export const l7Rules = Type.Object(
  {
    dns: Type.Optional(Type.Array(dnsRule)),
    http: Type.Optional(Type.Array(httpRule)),
    kafka: Type.Optional(Type.Array(kafkaRule)),
    l7: Type.Optional(Type.Array(Type.Record(Type.String(), Type.String()))),
    l7proto: Type.Optional(text()),
  },
  oneOfFields('http', 'kafka', 'dns', 'l7proto'),
);

const listener = Type.Object({
  envoyConfig: Type.Object({
    kind: Type.Optional(Type.Enum(['CiliumEnvoyConfig', 'CiliumClusterwideEnvoyConfig'])),
    name: Type.String({ minLength: 1 }),
  }),
  name: Type.String({ minLength: 1 }),
  priority: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
});

/** At most forty ports, as the datapath's users know it. */
const portsMax = 40;
const ports = Type.Array(portProtocol, { maxItems: portsMax });

export const portRule = Type.Object({
  listener: Type.Optional(listener),
  originatingTLS: Type.Optional(tlsContext),
  ports: Type.Optional(ports),
  rules: Type.Optional(l7Rules),
  serverNames: Type.Optional(Type.Array(Type.String({ minLength: 1, maxLength: 255 }))),
  terminatingTLS: Type.Optional(tlsContext),
});
export type PortRule = Static<typeof portRule>;

export const portDenyRule = Type.Object({ ports: Type.Optional(ports) });

export const icmpRule = Type.Object({
  fields: Type.Optional(
    Type.Array(
      Type.Object({
        family: Type.Optional(Type.Enum(['IPv4', 'IPv6'])),
        type: {
          ...intOrString,
          description: 'A number from 0 to 255, or the CamelCase name of the type.',
        } as typeof intOrString,
      }),
      { maxItems: portsMax },
    ),
  ),
});
