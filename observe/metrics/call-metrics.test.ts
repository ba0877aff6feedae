/** Calls are counted by kind: those to the API server, and those that this process answers. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { request } from 'undici';
import { expect, it } from 'vitest';
import { callMetrics, kubePath } from './call-metrics.ts';
import { expose, newRegistry, PROMETHEUS } from './exposition.ts';

it.each([
  ['/api/v1/pods?watch=1&fieldSelector=x', '/api/v1/pods'],
  ['/api/v1/namespaces/shop', '/api/v1/namespaces/{name}'],
  ['/api/v1/namespaces/shop/pods/web-0/status', '/api/v1/namespaces/{namespace}/pods/{name}/status'],
  ['/apis/cilium.io/v2/ciliumnodes/n', '/apis/cilium.io/v2/ciliumnodes/{name}'],
  ['/apis/cilium.io/v2/namespaces/x/ciliumendpoints', '/apis/cilium.io/v2/namespaces/{namespace}/ciliumendpoints'],
  ['/version', '/{other}'],
])('%s is %s', (path, kind) => expect(kubePath(path)).toBe(kind));

it('counts what goes to the API server and not what goes elsewhere, and what is answered', async () => {
  const servers = [200, 200].map((code) => createServer((_, response) => response.writeHead(code).end('{}')));
  const [here = '', elsewhere = ''] = await Promise.all(
    servers.map(
      (server) =>
        new Promise<string>((resolve) =>
          server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)),
        ),
    ),
  );
  const registry = newRegistry();
  const stop = callMetrics(registry, here);
  try {
    const ask = async (url: string): Promise<void> => void (await (await request(url)).body.dump());
    await ask(`${here}/api/v1/namespaces/shop/pods/a`);
    await ask(`${here}/api/v1/namespaces/shop/pods/b`);
    await ask(`${elsewhere}/v1/rows/bpf.ipcache?x=1`);
    servers[0]?.closeAllConnections();
    await new Promise((resolve) => servers[0]?.close(resolve));
    await expect(request(`${here}/api/v1/pods`)).rejects.toThrow();
    const text = await expose(registry, PROMETHEUS);
    for (const line of [
      'cilium_k8s_client_api_calls_total{method="GET",return_code="200"} 2',
      'cilium_k8s_client_api_calls_total{method="GET",return_code="0"} 1',
      'cilium_k8s_client_api_latency_time_seconds_count{path="/api/v1/namespaces/{namespace}/pods/{name}",method="GET"} 2',
      'cilium_agent_api_process_time_seconds_count{path="/v1/rows/{name}",method="GET",return_code="200"} 1',
    ])
      expect(text).toContain(`${line}\n`);
  } finally {
    stop();
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
  }
});
