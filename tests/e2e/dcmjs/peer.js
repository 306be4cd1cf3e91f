// Sends C-ECHO and one C-STORE for each file, prints one JSON line with every status.
// Usage: node peer.js PORT CALLED_AE FILE...
const { Client, requests } = require('dcmjs-dimse');

const [port, calledAe, ...files] = process.argv.slice(2);
const client = new Client();
const statuses = [];

for (const request of [
  new requests.CEchoRequest(),
  ...files.map((file) => new requests.CStoreRequest(file)),
]) {
  request.on('response', (response) => statuses.push(response.getStatus()));
  client.addRequest(request);
}

const fail = (why) => {
  console.error(String(why));
  process.exitCode = 1;
};
client.on('networkError', fail);
client.on('associationRejected', () => fail('association rejected'));
client.on('closed', () => console.log(JSON.stringify(statuses)));
client.send('127.0.0.1', Number(port), 'DCMJS', calledAe);
