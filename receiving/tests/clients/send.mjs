// Sends what the tests expect, with a vendor's client as it comes from npm:
//   node send.mjs CLIENT ADDRESS KEY USERS LEAVERS EVENTS
// USERS users get the trait `vip: true`, then every (USERS / LEAVERS)-th gets `false`; each of EVENTS events
// has a number. Exits 1 when the client says that it gave up on something, unless GIVES_UP is set; Amplitude's
// print which numbers were delivered, by their own word.
const [client, address, key, ...numbers] = process.argv.slice(2)
const [users, leavers, events] = numbers.map(Number)
const later = () => new Promise((done) => setTimeout(done, 20))
const user = (n) => `user-${n}`

const failed = (error) => {
  console.error(client, error)
  if (!process.env.GIVES_UP) process.exitCode = 1
}
const delivered = []

// Each client is {identify(user, value), track(user, number), end()}.
const clients = {
  async segment() {
    const { Analytics } = await import('@segment/analytics-node')
    const made = new Analytics({ writeKey: key, host: address, flushAt: 7 })
    made.on('error', failed)
    return {
      identify: (userId, vip) => made.identify({ userId, traits: { vip } }),
      track: (userId, n) => made.track({ userId, event: 'bought', properties: { n } }),
      end: () => made.closeAndFlush({ timeout: 120_000 }),
    }
  },
  async rudderstack() {
    const { default: Analytics } = await import('@rudderstack/rudder-sdk-node')
    const made = new Analytics(key, {
      dataPlaneUrl: address,
      flushAt: 7,
      retryCount: 20,
      axiosRetryConfig: { retryDelay: (count) => 50 * count },
      logLevel: 'error',
      errorHandler: failed,
    })
    return {
      identify: (userId, vip) => made.identify({ userId, traits: { vip } }),
      track: (userId, n) => made.track({ userId, event: 'bought', properties: { n } }),
      end: async () => {
        while (made.queue.length) await made.flush()
      },
    }
  },
  amplitude: () => amplitude(false),
  'amplitude-batch': () => amplitude(true),
}

async function amplitude(useBatch) {
  const { createInstance, Identify } = await import('@amplitude/analytics-node')
  const made = createInstance()
  const serverUrl = address + (useBatch ? '/batch' : '/2/httpapi')
  await made.init(key, {
    serverUrl, useBatch, flushQueueSize: 7, flushIntervalMillis: 50, flushMaxRetries: 1000, logLevel: 0,
  }).promise
  const sent = []
  const of = (promise, n) =>
    sent.push(
      promise.promise.then(({ code, message }) => (code === 200 ? delivered.push(n ?? -1) : failed(message))),
    )
  return {
    identify: (user_id, vip) => of(made.identify(new Identify().set('vip', vip), { user_id })),
    track: (user_id, n) => of(made.track('bought', { n }, { user_id }), n),
    // It flushes by itself, and tries again; what a flush that was asked for does not bring is given up.
    end: () => Promise.all(sent),
  }
}

const made = await clients[client]()
for (let n = 0; n < users; n++) {
  made.identify(user(n), true)
  if (n % 10 === 0) await later()
}
await later()
for (let n = 0; n < leavers; n++) made.identify(user(n * (users / leavers)), false)
for (let n = 0; n < events; n++) {
  made.track(user(n % users), n)
  if (n % 10 === 0) await later()
}
await made.end()
console.log(JSON.stringify(delivered.filter((n) => n >= 0)))
