// An OpenID Connect provider (oidc-provider) with a few people, on a free port of this machine. Prints its issuer.
// Options: --back ADDRESS (where browsers are sent back to), --id-token (groups stand in the ID token, not in userinfo).
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import Provider from 'oidc-provider';

const { values } = parseArgs({ options: { back: { type: 'string' }, 'id-token': { type: 'boolean', default: false } } });
const groups = {
  anna: ['pharmacy', 'cds admins'],
  bruno: ['pharmacy'],
  carla: ['kitchen'],
  eve: ['pharmacy'], // who calls herself Anna
};

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'console',
      client_secret: 'secret-of-the-console-in-tests',
      redirect_uris: [values.back],
      grant_types: ['authorization_code'],
      response_types: ['code'],
    }],
    claims: { openid: ['sub'], profile: ['preferred_username', 'groups'], email: ['email'] },
    conformIdTokenClaims: !values['id-token'],
    pkce: { required: () => true },
    cookies: { keys: ['key-of-tests'] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, preferred_username: id === 'eve' ? 'Anna' : id, groups: groups[id] ?? [] }),
    }),
  });
  server.on('request', provider.callback());
  console.log(issuer);
});
process.stdin.resume();
process.stdin.on('end', () => process.exit());
