"""How each deployment of the bench is started.

A deployment is a function of a `Place` (port, directory, file and socket names) that
returns argv lists: foreground processes in start order, each of which stops on SIGTERM.
`edge` names the processes (by comm) whose CPU counts as the edge's; the rest is the
application's side."""

import os
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
APPS = os.path.join(HERE, "apps")
TOP = os.path.dirname(os.path.dirname(HERE))
WORKERS = 2
DEPLOYMENTS = {}


def deployment(name, edge):
    def put(start):
        DEPLOYMENTS[name] = {"start": start, "edge": edge}
        return start

    return put


def banyan(place, threads, *options, app="bench_app:application"):
    return [[
        place.banyan, "serve", app,
        "--bind", f"127.0.0.1:{place.port}",
        "--workers", str(WORKERS),
        "--threads", str(threads),
        "--chdir", APPS,
        "--python", "/usr/bin/python3",
        "--log-level", "warning",
        *options,
    ]]


@deployment("banyan", edge=("banyan-proxy",))
def _(place):
    return banyan(place, 16)


@deployment("banyan-t1", edge=("banyan-proxy",))
def _(place):
    return banyan(place, 1)


@deployment("banyan-t256", edge=("banyan-proxy",))
def _(place):
    return banyan(place, 256)


@deployment("banyan-embedded", edge=("banyan-proxy",))
def _(place):
    return banyan(place, 16, "--embedded")


@deployment("banyan-asgi", edge=("banyan-proxy",))
def _(place):
    return banyan(place, 16, app="bench_asgi:application")


def banyan_links(place, endpoint, *options):
    """Proxy and app server by hand, over the endpoint of each process."""
    programs = os.path.dirname(place.banyan)
    common = ["--log-level", "warning", "--sched-batch", *options]
    app = [os.path.join(programs, "banyan-app"), "--bind", endpoint("{n}"),
           "--processes", str(WORKERS), "--threads", "16", "--chdir", APPS,
           "--python", "/usr/bin/python3", *common, "bench_app:application"]
    backends = [word for n in range(WORKERS) for word in ("--backend", endpoint(str(n)))]
    return [app, [os.path.join(programs, "banyan-proxy"), "--bind", f"127.0.0.1:{place.port}",
                  *backends, *common]]


def tcp_endpoint(place):
    """Ports side by side that are free, so that {n} can be their last digit."""
    base = place.inner("links").port // 10
    return lambda n: f"tcp://127.0.0.1:{base}{n}"


@deployment("banyan-ipc", edge=("banyan-proxy",))
def _(place):
    return banyan_links(place, lambda n: f"ipc://{place.dir}/app-{n}.sock")


@deployment("banyan-tcp", edge=("banyan-proxy",))
def _(place):
    return banyan_links(place, tcp_endpoint(place))


@deployment("banyan-curve", edge=("banyan-proxy",))
def _(place):
    key, users = os.path.join(place.dir, "key"), os.path.join(place.dir, "authorized-keys")
    app_key = os.path.join(place.dir, "app.key")
    for path, role in ((key, "proxy"), (app_key, "app")):
        public = subprocess.check_output([place.banyan, "keygen", path], text=True).strip()
        subprocess.run([place.banyan, "keys", "add", users, role, public], check=True)
    app, proxy = banyan_links(place, tcp_endpoint(place), "--authorized-keys", users)
    return [[app[0], "--key", app_key, *app[1:]], [proxy[0], "--key", key, *proxy[1:]]]


def nginx(place, location, http=""):
    conf = place.file("nginx.conf", f"""
daemon off; worker_processes {WORKERS}; pid {place.dir}/nginx.pid; user root;
error_log {place.dir}/nginx.err warn;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 1000000; keepalive_timeout 75s; sendfile on;
  default_type text/plain; client_body_buffer_size 128k;
  client_body_temp_path {place.dir}/body; proxy_temp_path {place.dir}/proxy;
  uwsgi_temp_path {place.dir}/uwsgi; fastcgi_temp_path {place.dir}/fcgi;
  scgi_temp_path {place.dir}/scgi;
  {http}
  server {{ listen 127.0.0.1:{place.port} backlog=2048; location / {{ {location} }} }}
}}""")
    return ["/usr/sbin/nginx", "-c", conf, "-p", place.dir, "-e", place.dir + "/nginx.err"]


def nginx_uwsgi(place, threads):
    app = [
        "/usr/bin/uwsgi", "--plugins", "python3", "--master", "--processes", str(WORKERS),
        "--threads", str(threads), "--disable-logging", "--need-app", "--listen", "1024",
        "--die-on-term", "--module", "bench_app:application", "--pythonpath", APPS,
        "--socket", place.sock("app"), "--chmod-socket=666",
    ]
    front = f"include /etc/nginx/uwsgi_params; uwsgi_pass unix:{place.sock('app')};"
    return [app, nginx(place, front)]


@deployment("nginx-uwsgi-t16", edge=("nginx",))
def _(place):
    return nginx_uwsgi(place, 16)


@deployment("nginx-uwsgi-t1", edge=("nginx",))
def _(place):
    return nginx_uwsgi(place, 1)


def haproxy(place, port):
    conf = place.file("haproxy.cfg", f"""
global
    nbthread {WORKERS}
    maxconn 4096
defaults
    mode http
    timeout client 60s
    timeout server 60s
    timeout connect 5s
    timeout tunnel 1h
    timeout http-keep-alive 75s
    option http-keep-alive
    http-reuse always
frontend edge
    bind 127.0.0.1:{place.port} backlog 2048
    default_backend back
backend back
    server s1 127.0.0.1:{port}
""")
    return ["/usr/sbin/haproxy", "-db", "-f", conf]


@deployment("haproxy-nginx-static", edge=("haproxy",))
def _(place):
    back = place.inner("static")
    return [nginx(back, 'return 200 "Hello, World!";'), haproxy(place, back.port)]


def uvicorn(place):
    return ["/usr/bin/python3", "-m", "uvicorn", "bench_asgi:application", "--app-dir", APPS,
            "--host", "127.0.0.1", "--port", str(place.port), "--workers", str(WORKERS),
            "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]


@deployment("uvicorn", edge=())
def _(place):
    return [uvicorn(place)]


@deployment("haproxy-uvicorn", edge=("haproxy",))
def _(place):
    back = place.inner("back")
    return [uvicorn(back), haproxy(place, back.port)]


@deployment("nginx-uvicorn", edge=("nginx",))
def _(place):
    back = place.inner("back")
    http = f"""
  upstream back {{ server 127.0.0.1:{back.port}; keepalive 64; }}
  map $http_upgrade $upgrading {{ default upgrade; "" ""; }}"""
    front = """proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Host $host;
    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $upgrading;
    proxy_read_timeout 1h; proxy_send_timeout 1h;"""
    return [uvicorn(back), nginx(place, front, http)]
