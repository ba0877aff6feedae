/** Services as people know them, and the load balancer's maps. */
import { nearest } from '../nearest.ts';
import { isMeant, loadBalancerOf, serviceForms, servicesOf, wordsOf } from '../services.ts';
import { json, Refusal, type Route } from './http.ts';
import type { DebugSources } from './sources.ts';

export function serviceRoutes({ inspector, kernelRows, datapath }: DebugSources): Route[] {
  return [
    {
      pattern: '/v1/services',
      doc: 'services and host ports, with frontends and backends',
      answer: () => json(servicesOf(inspector)),
    },
    {
      pattern: '/v1/services/*',
      doc: `one service, by ${serviceForms.join(', ')}`,
      answer({ rest }) {
        const services = servicesOf(inspector);
        const found = services.filter((service) => isMeant(service, rest));
        if (found.length > 0) return json(found);
        const expected = services.length === 0 ? 'a service, of which there are none' : serviceForms.join(', ');
        throw new Refusal(404, `no service is ${rest}`, expected, nearest(rest, wordsOf(services)));
      },
    },
    {
      pattern: '/v1/bpf/lb',
      doc: 'frontends in the kernel with the backends that they lead to',
      async answer() {
        const [frontends, sets, ranges] = [
          await kernelRows('bpf.frontends'),
          await kernelRows('bpf.backend-sets'),
          await kernelRows('bpf.source-ranges'),
        ];
        return json(loadBalancerOf(frontends, sets, ranges));
      },
    },
    {
      pattern: '/v1/bpf/ct/flush',
      method: 'POST',
      doc: 'forgets all connections: those that go on are subject to policy again',
      answer() {
        if (!datapath) throw new Refusal(404, 'there is no datapath here: this is a replay', 'a running agent');
        return json({ deleted: datapath.flushConntrack() });
      },
    },
  ];
}
