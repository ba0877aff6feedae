/** A kubeconfig for clients of the embedded API server. */
import { stringify } from 'yaml';

export interface KubeconfigOptions {
  /** Address to reach the server at; default: its first listener. */
  server?: string;
  name?: string;
  namespace?: string;
}

/** The text holds the token: write it with mode 0600. Without `ca` the server speaks plain HTTP, which clients must be told is meant. */
export function kubeconfigText(
  server: string,
  ca: string | undefined,
  token: string | undefined,
  options: KubeconfigOptions,
): string {
  const name = options.name ?? 'axoneme';
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name,
        cluster: {
          server,
          ...(ca === undefined
            ? { 'insecure-skip-tls-verify': true }
            : { 'certificate-authority-data': Buffer.from(ca).toString('base64') }),
        },
      },
    ],
    users: [{ name, user: token === undefined ? {} : { token } }],
    contexts: [
      {
        name,
        context: {
          cluster: name,
          user: name,
          ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
        },
      },
    ],
    'current-context': name,
  });
}
