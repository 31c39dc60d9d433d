"""Programs that use more than a command may: memory, what the kernel keeps, and the disk, by how they do it."""

MEMORY = {
    "one process": "x = bytearray(200 << 20)",
    "several processes": (
        "import os\nfor _ in range(6):\n  if os.fork() == 0: x = bytearray(30 << 20); time.sleep(20)"
    ),
    "both file systems in memory": (
        "for number in range(16):\n"
        "  for folder in ('/tmp', '/dev/shm'): open(f'{folder}/{number}', 'wb').write(bytes(4 << 20))"
    ),
    "shared pages that are unmapped": (
        "import mmap; m = mmap.mmap(-1, 300 << 20)\n"
        "for at in range(0, 300 << 20, 4096):\n"
        "  m[at] = 1\n"
        "  if at % (1 << 20) == 0: m.madvise(mmap.MADV_DONTNEED)"
    ),
    "shared pages in place of others of the same size": (
        "import ctypes\nmap = ctypes.CDLL(None).mmap; map.restype = ctypes.c_void_p\n"
        "map.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] * 5]\n"
        "at = map(None, 200 << 20, 0, 0x22, 2**64 - 1, 0); time.sleep(0.2)\n"
        "ctypes.memset(map(at, 200 << 20, 3, 0x31, 2**64 - 1, 0), 1, 200 << 20)"
    ),
    "shared pages of a thread that outlives the first": (
        "import ctypes, mmap, threading\n"
        "def grow(): time.sleep(0.2); m = mmap.mmap(-1, 200 << 20); m.write(bytes(100 << 20)); time.sleep(20)\n"
        "threading.Thread(target=grow).start(); ctypes.CDLL(None).pthread_exit(None)"
    ),
    "a thread that outlives the first": (
        "import ctypes, threading, time\n"
        "def grow(): time.sleep(0.3); x = bytearray(200 << 20); time.sleep(20)\n"
        "threading.Thread(target=grow).start(); ctypes.CDLL(None).pthread_exit(None)"
    ),
    "what is sent through sockets and not read": (
        "import itertools, socket; kept = [socket.socketpair() for _ in range(480)]\n"
        "for one in itertools.chain(*kept):\n  one.setblocking(False)\n"
        "  try:\n    while True: one.send(bytes(32000))\n  except BlockingIOError: pass"
    ),
}  # fmt: skip
FILL_BEHIND = (
    "import os; os.mkdir('d'); files = [open(f'd/{{n}}', 'wb') for n in range(4)]\n"
    "{close}\n"
    "for one in files: one.write(bytes(4 << 20)); one.flush()\n"
)
IN_THE_KERNEL = {
    "what is sent over TCP and not read": (
        "server = socket.create_server(('127.0.0.1', 0), backlog=64)\n"
        "for _ in range(50):\n  kept.append(socket.create_connection(server.getsockname())); fill(kept[-1])"
    ),
    "what is sent over UDP and not read": (
        "[os.fork() for _ in range(2)]\n"
        "for _ in range(240):\n"
        "  a, b = (socket.socket(type=socket.SOCK_DGRAM) for _ in 'ab'); kept += a, b\n"
        "  a.bind(('127.0.0.1', 0)); b.connect(a.getsockname()); [b.send(bytes(60000)) for _ in range(4)]"
    ),
    "sockets that are neither bound nor connected": (
        "[os.fork() for _ in range(4)]\nfor _ in range(1000): kept.append(socket.socket())"
    ),
    "what is written to pipes": "[os.fork() for _ in range(4)]\nfor _ in range(500): kept.append(os.pipe())",
    "files that are registered with epoll": "register(40)",
    "files that are registered with epoll beside files in messages": (
        "kept += socket.socketpair(); socket.send_fds(kept[0], [b'x'], [0]); register(4)"
    ),
    "texts of open files in /proc": (
        "poll = select.epoll(); files = [os.dup(0) for _ in range(400)]; [poll.register(file, 0) for file in files]\n"
        "[os.fork() for _ in range(2)]\n"
        "for _ in range(500):\n"
        "  kept.append(os.open(f'/proc/self/fdinfo/{poll.fileno()}', os.O_RDONLY)); os.read(kept[-1], 1)"
    ),
    "terminals": "for _ in range(300): kept.append(os.openpty())",
    "mappings that are tied to those of all who forked the process": (
        "import ctypes, mmap; m = mmap.mmap(-1, 6000 * 4096, flags=0x22); protect = ctypes.CDLL(None).mprotect\n"
        "at = ctypes.addressof(ctypes.c_char.from_buffer(m)); m.write(bytes(6000 * 4096))\n"
        "for n in range(1, 6000, 2): protect(ctypes.c_void_p(at + n * 4096), 4096, 1)\n"
        "for _ in range(22):\n  if os.fork(): break"
    ),
    "a process that hides what it has open": (
        "shutil.copy('/usr/bin/sleep', '/tmp/s'); os.chmod('/tmp/s', 0o111); subprocess.Popen(['/tmp/s', '20'])"
    ),
}
FILL = """
import os, select, shutil, socket, subprocess, time
kept = []
def fill(end):
  end.setblocking(False)
  try:
    while True: end.send(bytes(1 << 16))
  except BlockingIOError: pass
def register(number):
  files = [os.dup(0) for _ in range(450)]
  for _ in range(number):
    kept.append(select.epoll()); [kept[-1].register(file, 0) for file in files]
"""
KEEP = (
    "import ctypes, os, socket, threading, time\nlibc = ctypes.CDLL(None); kept = []\n"
    "def keep(how):\n  for number in range(16):\n"
    "    f = open('f', 'w+b'); f.write(bytes(2 << 20)); f.flush(); os.unlink('f'); how(f); time.sleep(0.01)\n"
)
IN_CALL = """
CALLS = {'7', '73', '40', '71', '46', '211', '72', '25'}  # poll, sendfile, sendmsg and fcntl of x86-64 and of aarch64
def wait_in_call(call, *given):
  thread = threading.Thread(target=call, args=given); thread.start()
  for _ in range(500):
    try: is_in_call = open(f'/proc/self/task/{thread.native_id}/syscall').read().split()[0] in CALLS
    except OSError: return thread.join(0.2)  # gVisor does not say it
    if is_in_call: return
    thread.join(0.01)
"""
WAITING = (
    IN_CALL.replace("{", "{{").replace("}", "}}") + "{start}\ntry:\n  while True: {fill}\nexcept OSError: {stop}\n"
    "def hold(f):\n  number = f.fileno()\n"
    "  wait_in_call(lambda: {call}); f.close()\nkeep(hold)"
)
COPIED = "files that a thread copies and another one has closed"
FOLDERS = (
    "import os; names = [f'{number:03}' + 'x' * 240 for number in range(900)]; kept = []\n"
    "os.mkdir('0'); [open(f'0/{name}', 'w').close() for name in names]\n"
    "for number in range(1, 60):\n"
    "  os.mkdir(str(number)); [os.rename(f'{number - 1}/{name}', f'{number}/{name}') for name in names]\n"
    "  if not os.stat(str(number - 1)).st_blocks: print('none'); os._exit(0)\n"
)
OPEN_FOLDER = "  kept.append(os.open(str(number - 1), os.O_RDONLY)); os.rmdir(str(number - 1))\n"
"""The folders of a file system such as ext4 keep the room that their entries took; others have none."""
HIDE = (
    "import ctypes, os\nlibc = ctypes.CDLL(None)\n"
    "libc.mmap.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] * 5]\n"
    "def hide(size):\n"
    "  f = open('f', 'w+b'); f.write(bytes(size)); f.flush(); os.unlink('f')\n"
    "  libc.mmap(None, 4096, 1, 1, f.fileno(), 0); f.close()\n"
)
LOCKED = "files that threads wait to lock and another one has closed"
DISK = {
    "one large file": "f = open('f', 'wb')\nfor _ in range(20): f.write(bytes(1 << 20)); f.flush()",
    "many files": "for number in range(400): open(str(number), 'w').close()",
    "folders inside one another": "import os\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')",
    "files in a folder that its owner may not read": (
        "import os; os.mkdir('d')\nfor n in range(16): open(f'd/{n}', 'wb').write(bytes(1 << 20))\nos.chmod('d', 0)"
    ),
    "files in a folder that its owner may not enter": FILL_BEHIND.format(close="os.chmod('d', 0o400)"),
    "files in a folder that is closed itself": FILL_BEHIND.format(close="os.chmod('.', 0)"),
    "files in a folder that is closed again and again": FILL_BEHIND.format(
        close="folder = os.open('d', os.O_RDONLY)\n"
        "def shut():\n  while True: os.fchmod(folder, 0o400)\n"
        "import threading; threading.Thread(target=shut, daemon=True).start()"
    ),
    "open files without a name": (
        "import os; kept = []\nfor number in range(16):\n"
        "  kept.append(open('f', 'wb')); kept[-1].write(bytes(1 << 20)); kept[-1].flush(); os.unlink('f')"
    ),
    "open files of a process that hides them": KEEP + "libc.prctl(4, 0)\nkeep(kept.append)",
    "open files of a program that cannot be read": (
        KEEP + "import shutil, subprocess; shutil.copy('/usr/bin/sleep', '/tmp/s'); os.chmod('/tmp/s', 0o111)\n"
        "try: subprocess.run(['/tmp/s', '0'])\nexcept PermissionError: os.chmod('/tmp/s', 0o555)  # gVisor reads it\n"
        "def give(f): subprocess.Popen(['/tmp/s', '20'], stdout=f); f.close()\nkeep(give)"
    ),
    "open files of a thread that outlives the first": (
        KEEP + "def late(): time.sleep(0.2); keep(kept.append); time.sleep(20)\n"
        "threading.Thread(target=late).start(); libc.pthread_exit(None)"
    ),
    "mapped files without a name": (
        KEEP + "libc.mmap.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] * 5]\n"
        "def show(f): libc.mmap(None, 4096, 1, 1, f.fileno(), 0); f.close()\nkeep(show)"
    ),
    "files in messages": (
        KEEP + "def send(f): kept.append(socket.socketpair()); socket.send_fds(kept[-1][0], [b'x'], [f.fileno()]); "
        "f.close()\nkeep(send)"
    ),
    "files that a thread sends and another one has closed": KEEP
    + WAITING.format(
        start="a, b = socket.socketpair(); a.settimeout(0.01)",
        fill="a.send(bytes(4096))",
        stop="a.settimeout(None)",
        call="socket.send_fds(a, [b'x'], [number])",
    ),
    COPIED: KEEP
    + WAITING.format(
        start="a, b = os.pipe(); os.set_blocking(b, False)",
        fill="os.write(b, bytes(4096))",
        stop="os.set_blocking(b, True)",
        call="os.sendfile(b, number, 0, 1)",
    ),
    "files in messages to a socket that a thread waits for and another one has closed": KEEP
    + IN_CALL
    + (
        "import select\ndef wait(f):\n"
        "  a, b = socket.socketpair(); socket.send_fds(b, [b'x'], [f.fileno()]); f.close(); kept.append(b)\n"
        "  poll = select.poll(); poll.register(a, select.POLLPRI)\n"
        "  wait_in_call(poll.poll); a.close()\nkeep(wait)"
    ),
    LOCKED: KEEP
    + IN_CALL
    + (
        "import fcntl, struct\nTRY, WAIT = 37, 38  # F_OFD_SETLK and F_OFD_SETLKW\n"
        "def lock(file, how, at): fcntl.fcntl(file, how, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, at, 1, 0))\n"
        "def tie(f):\n"
        "  files = f.fileno(), os.open(f'/proc/self/fd/{f.fileno()}', os.O_RDWR); kept.append(f)\n"
        "  for at in (0, 1): lock(files[at], TRY, at)\n"
        "  for at in (0, 1): wait_in_call(lock, files[at], WAIT, 1 - at)\n"
        "  for file in files: os.close(file)\nkeep(tie)"
    ),
    "links without a name": (
        KEEP + "def link():\n  name = str(os.getpid())\n  for _ in range(900):\n"
        "    os.symlink('x' * 200, name); kept.append(os.open(name, os.O_PATH | os.O_NOFOLLOW)); os.unlink(name)\n"
        "link()\nfor _ in range(4):\n"
        "  if os.fork() == 0: [os.close(one) for one in kept]; kept.clear(); link(); break"
    ),
    "many links to a file": (
        "import os; open('f', 'wb').write(bytes(1 << 20))\nfor number in range(20): os.link('f', str(number))"
    ),
}
