// Sends requests over one HTTP/2 connection whose bodies never end; runs until it is killed.
import http2 from 'node:http2'

const [url, path, key, count, bytes] = process.argv.slice(2)
const chunk = Buffer.alloc(256 * 1024)
const session = http2.connect(url)
session.on('error', () => {})

for (let index = 0; index < Number(count); index++) {
  const headers = { ':method': 'POST', ':path': path, 'content-type': 'application/octet-stream' }
  if (key) headers.authorization = `Bearer ${key}`
  const request = session.request(headers)
  request.on('error', () => {})
  send(request, Number(bytes))
}

function send(request, left) {
  for (; left > 0; left -= chunk.length) {
    if (!request.write(chunk)) {
      request.once('drain', () => send(request, left - chunk.length))
      return
    }
  }
}
