"""What an attacker tries in a sandbox that must have no effect: short programs that call `leak` if they succeed.

`HOST` tells them what there is outside; `denied` makes a system call that has to be refused before anything looks at
its arguments, with EPERM or ENOSYS.
"""

from types import MappingProxyType

FILES = MappingProxyType(
    {
        "read a file of the host": "leak(open(HOST['secret']).read())",
        "read the files of another tenant": "leak(open(HOST['tenant'] + '/files/kept.txt').read())",
        "list the folder of all commands": "leak(os.listdir(HOST['folder']))",
        "read the passwords of the host": "leak(open('/etc/shadow').read())",
        "read the users of the host": "leak('root:' in open('/etc/passwd').read() or refuse())",
        "find the source of Berth": "leak(os.path.exists(HOST['repository']) or refuse())",
        # The interpreter of the sandbox may be in one, and then the folders that lead to it are there.
        "find a home": (
            "homes = glob.glob('/home/*') + glob.glob('/root/*') + glob.glob('/root/.*');"
            " leak([path for path in homes if not sys.prefix.startswith(path)] or refuse())"
        ),
        "import a package of Berth": "import grpc; leak(grpc)",
        "find packages of the host": "leak(glob.glob('/usr/lib/python3/dist-packages/*') or refuse())",
        "find the temporary files of the host": "leak(os.path.exists(HOST['temporary']) or refuse())",
        "find the shared memory of the host": "leak(os.path.exists(HOST['shared_memory']) or refuse())",
        "find sockets of the host": "leak(glob.glob('/run/*') + glob.glob('/var/run/*') or refuse())",
        "write to a program": "put('/usr/bin/env', 'x')",
        "write to the standard library": "put(os.__file__, 'x')",
        "write to the root": "put('/planted', 'x')",
        "write to the users": "put('/etc/passwd', 'x')",
        "change the rights of a program": "os.chmod('/usr/bin/env', 0o777); leak('changed')",
        "link to a program": "os.link('/usr/bin/env', '/mnt/data/env'); leak('linked')",
        "walk up from the folder": "leak(open('/mnt/data/' + '../' * 20 + HOST['secret'].lstrip('/')).read())",
        "walk through the root of another process": (
            "leak([p for p in glob.glob('/proc/[0-9]*/root') + glob.glob('/proc/[0-9]*/cwd')"
            " if os.path.exists(p + HOST['secret'])] or refuse())"
        ),
        "read the environment of processes": (
            "leak([p for p in glob.glob('/proc/[0-9]*/environ') if HOST['variable'] in open(p).read()] or refuse())"
        ),
        "read the environment of the first process": "leak(open('/proc/1/environ').read() or refuse())",
        "find other programs": (
            "leak([p for p in glob.glob('/proc/[0-9]*/cmdline') if 'pytest' in open(p).read()] or refuse())"
        ),
        "inherit an open file": "leak([d for d in os.listdir('/proc/1/fd') if link(d) not in KNOWN] or refuse())",
        "open a file by its handle": "denied('name_to_handle_at', -100, b'/mnt/data', 0, 0, 0)",
        "open any file by a handle": "denied('open_by_handle_at', 3, 0, 0)",
    }
)

KERNEL = MappingProxyType(
    {
        "set where the kernel puts crashes": "put('/proc/sys/kernel/core_pattern', '|/x')",
        "set the name of the host": "put('/proc/sys/kernel/hostname', 'x')",
        "press a key of the kernel": "leak(not_null('/proc/sysrq-trigger'))",
        "read the memory of the kernel": "leak(open('/proc/kcore', 'rb').read(1) or refuse())",
        "read addresses of the kernel": "leak(open('/proc/kallsyms').read(1) or refuse())",
        "read how the kernel was started": (
            "text = open('/proc/cmdline').read(); leak('gvisor' not in text and text or refuse())"
        ),
        "list keys": "leak(open('/proc/keys').read(1) or refuse())",
        "route interrupts": "put('/proc/irq/default_smp_affinity', '1')",
        "find the devices of the kernel": "leak(os.path.exists('/sys/kernel') or refuse())",
        "find a disk": (
            "leak([p for p in glob.glob('/dev/**', recursive=True) if stat.S_ISBLK(os.lstat(p).st_mode)] or refuse())"
        ),
        "open the memory of the machine": "open('/dev/mem', 'rb').read(1); leak('read')",
        "make a device": "os.mknod('/mnt/data/mem', 0o20666, os.makedev(1, 1)); leak('made')",
        "make a disk": "os.mknod('/tmp/disk', 0o60666, os.makedev(254, 0)); leak('made')",
        "make a mark of an overlay": "os.mknod('/mnt/data/mark', 0o20000, 0); leak('made')",
        "plant a device": "put('/dev/planted', 'x')",
        "make a part of a file system that cannot be removed": (
            "numbers = (0x5000940E, 0x50009401, 0x50009417, 0x50009418, 0x4008941A, 0x81F8943C);"
            " place = os.open('/mnt/data', 0); [denied('ioctl', place, n, bytes(4096)) for n in numbers]"
        ),
        "type into the terminal": "[denied('ioctl', os.openpty()[1], n, b'x') for n in (0x5412, 0x541C)]",
        "give a terminal another line discipline": (
            "end = os.openpty()[1]; [denied('ioctl', end, 0x5423, bytes([n, 0, 0, 0])) for n in range(32)]"
        ),
        "become root": "os.setuid(0); leak(os.getuid())",
        "change groups": "os.setgroups([0]); leak(os.getgroups())",
        "use a program with the rights of root": (
            "out = subprocess.run(['su', '-c', 'id'], capture_output=True, stdin=-3).stdout; "
            "leak(b'uid=0' in out or refuse())"
        ),
        "make a program with the rights of root": (
            "shutil.copy('/usr/bin/env', 'e'); os.chmod('e', 0o6755);"
            "leak(b'uid=0(' in subprocess.run(['./e', 'id'], capture_output=True).stdout or refuse())"
        ),
        "have rights": "leak([v for v in map(STATUS.get, ('CapEff', 'CapPrm', 'CapAmb')) if int(v, 16)] or refuse())",
        "get new rights": "leak(STATUS['NoNewPrivs'] != '1' or STATUS['Seccomp'] != '2' or refuse())",
        "map more users": "put('/proc/self/uid_map', '0 0 1')",
        "use a program of 32 bits": (
            "code = mmap.mmap(-1, 4096, prot=7); code.write(bytes.fromhex('b814000000cd80c3'));"
            "leak(ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(code)))() > 0 or refuse())"
            "if platform.machine() == 'x86_64' else refuse()"
        ),
        "use the second set of calls": (
            "leak(libc.syscall(ctypes.c_long(0x40000000 | 39)) > 0 or refuse())"
            " if platform.machine() == 'x86_64' else refuse()"
        ),
        "run before others": "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)); leak('set')",
        "raise a limit": "resource.setrlimit(resource.RLIMIT_NPROC, (9999, 9999)); leak('raised')",
        "be spared by the kernel": "put('/proc/self/oom_score_adj', '-1000')",
        "attach to the first process": "denied('ptrace', 16, 1, 0, 0)",
        "be traced": "denied('ptrace', 0, 0, 0, 0)",
        "read the memory of a process": "denied('process_vm_readv', 1, 0, 0, 0, 0, 0)",
        "write the memory of a process": "denied('process_vm_writev', 1, 0, 0, 0, 0, 0)",
        "take an open file of a process": "denied('pidfd_getfd', 3, 0, 0)",
        "send a signal to the host": "os.kill(HOST['pid'], 9); leak('sent')",
        "have a new user namespace": "denied('unshare', 0x10000000)",
        "have a new mount namespace": "denied('unshare', 0x00020000)",
        "start a process in new namespaces": "denied('clone', 0x10000000 | 17, 0, 0, 0, 0)",
        "start a process the new way": "denied('clone3', 0, 0)",
        "enter a namespace": "denied('setns', os.open('/proc/1/ns/net', 0), 0)",
        "mount a file system": "denied('mount', b'none', b'/tmp', b'tmpfs', 0, 0)",
        "unmount what is read-only": "denied('umount2', b'/proc/sys', 2)",
        "change the root": "denied('chroot', b'/tmp')",
        "swap the root": "denied('pivot_root', b'/tmp', b'/tmp')",
        "mount the new way": "[denied(n, 0, 0, 0, 0, 0) for n in ('fsopen', 'fsconfig', 'fsmount', 'fspick')]",
        "move mounts": "[denied(n, 0, 0, 0, 0, 0) for n in ('open_tree', 'move_mount', 'mount_setattr')]",
        "use io_uring": (
            "[denied(n, 1, 0, 0, 0, 0, 0) for n in ('io_uring_setup', 'io_uring_enter', 'io_uring_register')]"
        ),
        "use keyrings": "[denied(n, 0, 0, 0, 0, 0) for n in ('add_key', 'request_key', 'keyctl')]",
        "load a program into the kernel": "denied('bpf', 0, 0, 0)",
        "count events of the processor": "denied('perf_event_open', 0, 0, -1, -1, 0)",
        "handle faults of memory": "denied('userfaultfd', 0)",
        "load a module": "[denied(n, 0, 0, 0) for n in ('init_module', 'finit_module', 'delete_module')]",
        "start another kernel": "[denied(n, 0, 0, 0, 0, 0) for n in ('kexec_load', 'kexec_file_load')]",
        "restart the machine": "denied('reboot', 0, 0, 0, 0)",
        "swap to a file": "[denied(n, 0, 0) for n in ('swapon', 'swapoff')]",
        "read the log of the kernel": "denied('syslog', 3, 0, 0)",
        "set the clock": "[denied(n, 0, 0) for n in ('settimeofday', 'clock_settime', 'adjtimex', 'clock_adjtime')]",
        "account and set quotas": "[denied(n, 0, 0, 0, 0) for n in ('acct', 'quotactl', 'quotactl_fd')]",
        "watch the files of all": "denied('fanotify_init', 0, 0)",
        "see which files others open": "[denied(n, 0) for n in ('inotify_init', 'inotify_init1')]",
        "be told what others do in a folder": "fcntl.fcntl(os.open('/usr/bin', 0), fcntl.F_NOTIFY, 1); leak('told')",
        "keep others from writing to a file": (
            "fcntl.fcntl(os.open('/tmp/lease', os.O_CREAT), fcntl.F_SETLEASE, fcntl.F_RDLCK); leak('taken')"
        ),
        "have memory without a file": "[denied(n, b'x', 0) for n in ('memfd_create', 'memfd_secret')]",
        "have shared memory of System V": "[denied(n, 0, 4096, 0o1600) for n in ('shmget', 'msgget', 'semget')]",
        "move memory between nodes": "[denied(n, 0, 0, 0, 0, 0, 0) for n in ('mbind', 'move_pages', 'migrate_pages')]",
        "change the machine's personality": "denied('personality', 0x0040000)",
        "keep pages of a file in a pipe with sendfile": (
            "r, w = os.pipe(); leak(os.sendfile(w, os.open(os.__file__, 0), 0, 1))"
        ),
        "keep pages of a file in a pipe with splice": (
            "r, w = os.pipe(); leak(os.splice(os.open(os.__file__, 0), w, 1, offset_src=0))"
        ),
        "keep pages of memory in a pipe": (
            "r, w = os.pipe(); at = ctypes.create_string_buffer(16);"
            " vector = (ctypes.c_size_t * 2)(ctypes.addressof(at), 1);"
            " leak(libc.syscall(NUMBERS['vmsplice'], w, vector, 1, 0) == 1 or refuse())"
        ),
        "have the kernel keep a table of locks": "leak(libc.prctl(78, 1, 1 << 16, 0, 0) == 0 or refuse())",
        "take the places of all for asynchronous I/O": "denied('io_setup', 1000, ctypes.addressof(ctypes.c_ulong(0)))",
        "keep more in a socket": (
            "a, b = socket.socketpair(); sizes = [];"
            " [(a.setsockopt(1, n, 1 << 22), sizes.append(a.getsockopt(1, n) - b.getsockopt(1, n))) for n in (7, 8)];"
            " leak(any(sizes) or refuse())"
        ),
        "have the kernel keep lists of who may use a file": (
            "import struct; entries = [(1, 0), (2, 1000), (4, 0), (16, 0), (32, 0)]; os.mkdir('/tmp/listed');"
            " value = struct.pack('I', 2) + b''.join(struct.pack('HHi', tag, 7, user) for tag, user in entries);"
            " os.setxattr('/tmp/listed', 'system.posix_acl_default', value); leak('kept')"
        ),
        "have turns before others": (
            "limits = [resource.getrlimit(n) for n in (resource.RLIMIT_NICE, resource.RLIMIT_RTPRIO)];"
            " leak(limits != [(0, 0)] * 2 or refuse())"
        ),
        "have turns as short as those of supervisors": (
            "import struct; wanted = struct.pack('IIQiIQQQ', 48, 0, 0, os.getpriority(0, 0), 0, 100_000, 0, 0);"
            " number = 314 if platform.machine() == 'x86_64' else 274;"
            " leak(libc.syscall(number, 0, wanted, 0) == 0 or refuse())"
        ),
        "be less nice": "os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) - 1); leak('less nice')",
        "take a larger share of the processor": "leak(os.open('/proc/self/autogroup', os.O_WRONLY))",
        "keep others from half of a core": "leak(libc.prctl(62, 1, 0, 0, 0) == 0 or refuse())",
        "use calls that are newer than the list": (
            "leak([n for n in range(470, 520) if libc.syscall(n, 0, 0, 0, 0) >= 0"
            " or ctypes.get_errno() != errno.ENOSYS] or refuse())"
        ),
        "start a program of the host with a crash": (
            "resource.setrlimit(resource.RLIMIT_CORE, (0, 0));"
            " leak(resource.getrlimit(resource.RLIMIT_CORE) != (1, 1) or refuse())"
        ),
    }
)

NETWORK = MappingProxyType(
    {
        "put a filter on a socket": (
            "import struct; program = ctypes.create_string_buffer(bytes.fromhex('06000000ffff0000') * 4096);"
            " given = struct.pack('HL', 4096, ctypes.addressof(program));"
            " socket.socket().setsockopt(1, 26, given); leak('attached')"
        ),
        "keep pages of memory in a socket": (
            "[one.setsockopt(1, 60, 1) or leak(one.getsockopt(1, 60) == 1 or refuse()) for one in [socket.socket()]]"
        ),
        "connect to a port of the host": "socket.create_connection(('127.0.0.1', HOST['port']), 1); leak('connected')",
        "connect to it over IPv6": "socket.create_connection(('::1', HOST['port']), 1); leak('connected')",
        "connect to an address of the machine": "[socket.create_connection((a, HOST['port']), 1) for a "
        "in HOST['addresses']]"
        " and leak('connected')",
        "ask for the metadata of a cloud": "socket.create_connection(('169.254.169.254', 80), 1); leak('connected')",
        "send a question to a name server": (
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('8.8.8.8', 53)); leak('sent')"
        ),
        "resolve a name": "leak(socket.gethostbyname('example.com'))",
        "connect to an abstract socket of the host": (
            "socket.socket(socket.AF_UNIX).connect(chr(0) + HOST['abstract']); leak('connected')"
        ),
        "connect to a socket file of the host": (
            "socket.socket(socket.AF_UNIX).connect(HOST['socket']); leak('connected')"
        ),
        "talk to the hypervisor": "socket.socket(40, socket.SOCK_STREAM); leak('opened')",
        "talk to the kernel over netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); leak('opened')",
        "send raw packets": "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP); leak('opened')",
        "read all packets": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0); leak('opened')",
        "use the kernel's ciphers": "socket.socket(38, socket.SOCK_SEQPACKET, 0); leak('opened')",
        "use rare protocols": "[leak(f) for f in range(3, 46) if f != 10 and family(f)] or refuse()",
        "use rare protocols of the internet": (
            "[leak(p) for f in (2, 10) for t in (1, 2, 5) for p in (33, 115, 132, 136, 262) if protocol(f, t, p)]"
            " or refuse()"
        ),
        "use rare types of sockets": (
            "flags = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK;"
            " [leak((f, t)) for f in (2, 10) for t in (4, 6) for g in (0, flags) if looked_for(f, t | g)] or refuse()"
        ),
        "ask for bridges and virtual networks": (
            "[denied('ioctl', socket.socket(f).fileno(), n, bytes(64)) for f in (1, 2, 10)"
            " for n in (0x8940, 0x8941, 0x8982, 0x8983, 0x89a0, 0x89a1, 0x89a2, 0x89a3)]"
        ),
        "have TCP use ciphers": (
            "numbers = (14, 31, 32, 38);"
            " [leak((f, n)) for f in (2, 10) for n in numbers if offered(f, n, b'tls' + bytes(280))] or refuse()"
        ),
        "find an interface": (
            "leak([l for l in open('/proc/net/dev').read().split('\\n')[2:-1] if 'lo:' not in l] or refuse())"
        ),
        "listen where others could connect": (
            "s = socket.create_server(('0.0.0.0', 8)); leak('listens on a low port')"
        ),
    }
)

OF_A_GUEST = frozenset(
    {
        "read the environment of the first process",
        "press a key of the kernel",
        "start a program of the host with a crash",
        "keep more in a socket",
        "be spared by the kernel",
        "be less nice",
        "listen where others could connect",
        "keep pages of a file in a pipe with sendfile",
        "keep pages of a file in a pipe with splice",
    }
)
"""What a guest may do to itself, which has a kernel and a network of its own: its first process has a home in its
environment, its kernel has the file for keys, handles crashes and spares no process of the host, nothing else can
connect to it, and what its pipes keep counts."""

RUNNER = """
import json, os, signal, sys
given = json.load(sys.stdin)
PRELUDE = '''
import ctypes, errno, fcntl, glob, mmap, os, platform, resource, shutil, signal, socket, stat, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
LINES = open('/proc/self/status').read().replace('\\\\t', '').strip().split('\\\\n')
STATUS = dict(line.split(':', 1) for line in LINES)
def leak(what): print('LEAK', str(what)[:200], flush=True)
def refuse(): raise PermissionError('nothing found')
def link(d):
    target = os.readlink('/proc/1/fd/' + d)
    if target.startswith('host:') and int(d) in (0, 1, 2, 9): return ''
    return '' if target.startswith(('pipe:', 'anon_inode:[eventfd]', '/dev/null')) else target
KNOWN = ('',)
def put(path, text):
    d = os.open(path, os.O_WRONLY | (0 if os.path.exists(path) else os.O_CREAT))
    leak(('written', os.write(d, text.encode())))
def not_null(path):
    return 'written' if os.stat(path).st_rdev != os.makedev(1, 3) else refuse()
def denied(name, *args):
    number = NUMBERS.get(name)
    if number is None: return
    values = [ctypes.c_char_p(a) if isinstance(a, bytes) else ctypes.c_long(a) for a in args]
    result = libc.syscall(ctypes.c_long(number), *values)
    if result == 0 and name == 'clone': os._exit(0)
    if result >= 0 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
        leak((name, result, ctypes.get_errno()))
def family(f):
    try: socket.socket(f, socket.SOCK_STREAM)
    except OSError as error: return error.errno not in (errno.EAFNOSUPPORT, errno.EPERM)
    return True
def protocol(*which):
    try: socket.socket(*which)
    except OSError: return False
    return True
def offered(family, option, value):
    try: socket.socket(family).setsockopt(6, option, value)
    except OSError as error: return error.errno != errno.ENOPROTOOPT
    return False  # a guest knows none of these options, and says that it has set them; no kernel takes such values
def looked_for(*which):
    try: socket.socket(*which)
    except OSError as error: return error.errno != errno.EPROTONOSUPPORT
    return True
'''
for name, code in given['attempts'].items():
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.dup2(writer, 1)
        signal.alarm(5)
        try:
            exec(compile(PRELUDE + code, name, 'exec'), {'HOST': given['host'], 'NUMBERS': given['numbers']})
            print('done')
        except BaseException as error:
            print('refused:', type(error).__name__, error)
        sys.stdout.flush()
        os._exit(0)
    os.close(writer)
    said = os.fdopen(reader, errors='replace').read()
    _, status = os.wait()
    print(json.dumps([name, said.strip() or f'ended with {status}']), flush=True)
"""
"""Runs each attempt in a process of its own, so that none disturbs another."""
