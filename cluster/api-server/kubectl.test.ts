/** What users do with kubectl, done with the real one. `AXONEME_KUBECTL` names others to test with, separated by `:`. */
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ApiServer, startApiServer } from './index.ts';

const clients = ['kubectl', ...(process.env.AXONEME_KUBECTL ?? '').split(':').filter((path) => path !== '')];

const pod = (name: string, more = '') => `
apiVersion: v1
kind: Pod
metadata: { name: ${name}, labels: { app: web${more} } }
spec:
  containers: [{ name: main, image: nginx, ports: [{ containerPort: 80 }] }]
`;

const service = (port: number) => `
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, ports: [{ port: ${port}, targetPort: 80 }] }
`;

const policy = (app: string, protocol = 'TCP') => `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: allow }
spec:
  endpointSelector: { matchLabels: { app: web } }
  ingress: [{ fromEndpoints: [{ matchLabels: { app: ${app} } }], toPorts: [{ ports: [{ port: "80", protocol: ${protocol} }] }] }]
`;

interface Output {
  code: number;
  out: string;
  err: string;
}

describe.each(clients)('%s', (client) => {
  let server: ApiServer;
  let home: string;

  beforeAll(async () => {
    server = await startApiServer({
      listeners: [{ host: '127.0.0.1', port: 0 }],
      token: 'secret',
      database: ':memory:',
    });
    home = mkdtempSync(join(tmpdir(), `axt-${process.pid}-kubectl-`));
    writeFileSync(join(home, 'config'), server.kubeconfig(), { mode: 0o600 });
  });

  afterAll(async () => {
    await server?.close();
    rmSync(home, { recursive: true, force: true });
  });

  const environment = () => ({ ...process.env, HOME: home, KUBECONFIG: join(home, 'config') });

  function kubectl(args: string, input = ''): Promise<Output> {
    return new Promise((resolve) => {
      const child = execFile(
        client,
        args.split(' '),
        { cwd: home, env: environment(), timeout: 20_000 },
        (error, out, err) => resolve({ code: error ? Number(error.code ?? 1) : 0, out: out.trim(), err: err.trim() }),
      );
      child.stdin?.end(input);
    });
  }

  /** The output of a command that must succeed. */
  async function ok(args: string, input = ''): Promise<string> {
    const { code, out, err } = await kubectl(args, input);
    if (code !== 0) throw new Error(`kubectl ${args}: ${err}`);
    return out;
  }

  test('says which server it talks to', async () => {
    expect(await ok('version')).toContain('v1.32.0+axoneme');
  });

  test('applies, finds nothing to do, changes', async () => {
    expect(await ok('apply -f -', `${pod('web')}---${service(80)}`)).toBe('pod/web created\nservice/web created');
    expect(await ok('apply -f -', `${pod('web')}---${service(80)}`)).toBe('pod/web unchanged\nservice/web unchanged');
    expect(await ok('apply -f -', `${pod('web', ', tier: front')}---${service(81)}`)).toBe(
      'pod/web configured\nservice/web configured',
    );
    expect(await ok('get service web -o jsonpath={.spec.ports[*].port}')).toBe('81');
    await ok('apply -f -', pod('web'));
    expect(await ok('get pod web -o jsonpath={.metadata.labels}')).toBe('{"app":"web"}');
  });

  test('prints as from any cluster', async () => {
    expect((await ok('get pod web')).split('\n')[0]?.split(/\s{2,}/)).toEqual([
      'NAME',
      'READY',
      'STATUS',
      'RESTARTS',
      'AGE',
    ]);
    expect(await ok('get pod web')).toMatch(/web +0\/1 +Pending +0 +\d+s/);
    expect(await ok('get pod -o wide')).toMatch(/IP +NODE +NOMINATED NODE/);
    expect(await ok('get svc web')).toMatch(/web +ClusterIP +10\.96\.\d+\.\d+ +<none> +81\/TCP/);
    expect(await ok('get po web -o name')).toBe('pod/web');
    expect(await ok('get pods -l app=web,app!=db -o name')).toBe('pod/web');
    expect(await ok('get pods --field-selector=status.phase=Running -o name')).toBe('');
    expect(await ok('get pod web -o yaml')).toContain('restartPolicy: Always');
    expect(await ok('get ns')).toMatch(/kube-system +Active/);
    expect(await ok('get all')).toContain('service/kubernetes');
  });

  test('labels, annotates, patches, describes', async () => {
    await ok('label pod web stage=test');
    await ok('annotate pod web note=hello');
    await ok(`patch pod web -p {"metadata":{"labels":{"patched":"strategic"}}}`);
    await ok(`patch pod web --type=merge -p {"metadata":{"labels":{"merged":"yes"}}}`);
    await ok(`patch pod web --type=json -p [{"op":"remove","path":"/metadata/labels/stage"}]`);
    const described = await ok('describe pod web');
    expect(described).toMatch(/merged=yes/);
    expect(described).toMatch(/note: hello/);
    expect(described).not.toMatch(/stage/);
    expect(await ok('describe service web')).toMatch(/Port: +<unset> +81\/TCP/);
    expect(await ok('describe namespace default')).toMatch(/Status: +Active/);
  });

  test('refuses what is wrong, and says where', async () => {
    const unknown = await kubectl('apply -f -', pod('bad').replace('image:', 'imagee:'));
    expect(unknown.code).not.toBe(0);
    expect(unknown.err).toMatch(/unknown field "(spec\.containers\[0\]\.)?imagee"/);
    const invalid = await kubectl('apply -f -', pod('bad').replace('containerPort: 80', 'containerPort: 99999'));
    expect(invalid.err).toContain(
      'spec.containers[0].ports[0].containerPort: Invalid value: 99999: must be between 1 and 65535, inclusive',
    );
    const missing = await kubectl('get pod nothing');
    expect(missing.err).toBe('Error from server (NotFound): pods "nothing" not found');
    const nowhere = await kubectl('apply -n nowhere -f -', pod('bad'));
    expect(nowhere.err).toContain('namespaces "nowhere" not found');
    const forbidden = await kubectl('apply -f -', pod('web').replace('containerPort: 80', 'containerPort: 81'));
    expect(forbidden.err).toContain('spec: Forbidden: pod updates may not change fields other than');
  });

  test('knows our resources: applies, prints, explains, refuses', async () => {
    expect(await ok('apply -f -', policy('client'))).toBe('ciliumnetworkpolicy.cilium.io/allow created');
    expect(await ok('apply -f -', policy('other'))).toBe('ciliumnetworkpolicy.cilium.io/allow configured');
    expect((await ok('get cnp')).split('\n')[0]?.split(/\s{2,}/)).toEqual(['NAME', 'AGE', 'VALID']);
    const refused = await kubectl('apply -f -', policy('other', 'XTCP'));
    expect(refused.err).toContain('spec.ingress[0].toPorts[0].ports[0].protocol: Unsupported value: "XTCP"');
    expect(await ok('api-resources --api-group=cilium.io -o name')).toContain('ciliumidentities.cilium.io');
    expect(await ok('explain cnp.spec.ingress.toPorts.ports')).toContain('endPort');
    expect(await ok('explain pod.spec.containers.ports')).toContain('containerPort');
    expect(await ok('get crd ciliumnodes.cilium.io -o name')).toBe(
      'customresourcedefinition.apiextensions.k8s.io/ciliumnodes.cilium.io',
    );
    await ok('delete cnp allow');
  });

  test('serves a definition as soon as it is created', async () => {
    const definition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: widgets.example.com }
spec:
  group: example.com
  names: { kind: Widget, plural: widgets, shortNames: [wd] }
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: { openAPIV3Schema: { type: object, properties: { spec: { type: object, properties: { size: { type: integer } } } } } }
    additionalPrinterColumns: [{ name: Size, type: integer, jsonPath: .spec.size }]
`;
    const widget = 'apiVersion: example.com/v1\nkind: Widget\nmetadata: { name: one }\nspec: { size: 3 }\n';
    await ok('apply -f -', definition);
    await ok('wait --for=condition=Established crd/widgets.example.com --timeout=5s');
    await ok('apply -f -', widget);
    expect(await ok('get wd')).toMatch(/one +3/);
    await ok('delete crd widgets.example.com');
    expect((await kubectl('get widgets')).code).not.toBe(0);
  });

  test('creates namespaces and everything in them, and deletes them with it', async () => {
    await ok('create namespace team');
    await ok('create configmap settings -n team --from-literal=a=b');
    await ok('create secret generic hidden -n team --from-literal=password=x');
    await ok('create service clusterip api -n team --tcp=80:8080');
    expect(await ok('get service api -n team -o jsonpath={.spec.ports[0].targetPort}')).toBe('8080');
    expect(await ok('get secret hidden -n team -o jsonpath={.data.password}')).toBe('eA==');
    expect(await ok('get configmap -n team -o name')).toContain('configmap/settings');
    await ok('delete namespace team --timeout=10s');
    expect((await kubectl('get ns team')).err).toContain('not found');
  });

  test('follows changes, and waits for them', async () => {
    const child = spawn(
      client,
      ['get', 'configmaps', '-w', '--no-headers', '-o', 'custom-columns=NAME:.metadata.name,V:.data.v'],
      { cwd: home, env: environment() },
    );
    let seen = '';
    child.stdout.on('data', (text: Buffer) => {
      seen += text.toString();
    });
    const shows = async (text: RegExp): Promise<void> => {
      for (let i = 0; i < 200 && !text.test(seen); i++) await new Promise((resolve) => setTimeout(resolve, 25));
      expect(seen).toMatch(text);
    };
    const maps = server.store.resource('configmaps');
    try {
      maps.create({ metadata: { name: 'watched' }, data: { v: 'one' } });
      await shows(/watched +one/);
      maps.update('default', 'watched', (current) => ({ ...current, data: { v: 'two' } }));
      await shows(/watched +two/);
    } finally {
      child.kill();
    }
    const waiting = kubectl('wait --for=condition=Ready pod/web --timeout=10s');
    server.store
      .resource('pods')
      .updateStatus('default', 'web', { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] });
    expect((await waiting).out).toBe('pod/web condition met');
  });

  test('deletes a running pod gracefully: it is gone when the kubelet says so', async () => {
    const pods = server.store.resource('pods');
    pods.bind('default', 'web', 'node-1');
    const deleting = kubectl('delete pod web');
    for (let i = 0; i < 200 && !pods.find('default', 'web')?.metadata.deletionTimestamp; i++)
      await new Promise((resolve) => setTimeout(resolve, 25));
    expect(await ok('get pod web')).toMatch(/Terminating/);
    pods.delete('default', 'web', { gracePeriodSeconds: 0 });
    expect((await deleting).out).toContain('pod "web" deleted');
    await ok('delete service web');
  });

  test('applies on the server, and sees conflicts', async () => {
    await ok('apply --server-side -f -', policy('client'));
    const conflict = await kubectl('apply --server-side --field-manager=other -f -', policy('other'));
    expect(conflict.err).toContain('conflict with "kubectl" using cilium.io/v2');
    await ok('apply --server-side --field-manager=other --force-conflicts -f -', policy('other'));
    expect(await ok('apply --dry-run=server -f -', pod('dry'))).toBe('pod/dry created (server dry run)');
    expect((await kubectl('get pod dry')).err).toContain('not found');
  });
});
