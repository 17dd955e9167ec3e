%%% This node as one of several, and others beside it.
-module(py_distribution).

-export([start/0, stop/1, start_peer/0, start_peer/1, with_code/0, kill/1, freeze/1, thaw/1]).

-type peer() :: {pid(), node()}.

%% @doc Give this node a name; returns what `stop/1' wants.
-spec start() -> {epmd_was_running, boolean()}.
start() ->
    Epmd = is_epmd_running(),
    Epmd orelse os:cmd("epmd -daemon"),
    {ok, _} = net_kernel:start([list_to_atom("py_test_" ++ os:getpid()), shortnames]),
    {epmd_was_running, Epmd}.

-spec stop({epmd_was_running, boolean()}) -> ok.
stop({epmd_was_running, Epmd}) ->
    ok = net_kernel:stop(),
    Epmd orelse os:cmd("epmd -kill"),
    ok.

is_epmd_running() -> string:find(os:cmd("epmd -names 2>&1"), "up and running") =/= nomatch.

%% @doc Another node, which has the application's code and the tests'; it is not connected yet. It ends with the calling
%% process.
-spec start_peer() -> peer().
start_peer() -> start_peer(#{args => with_code()}).

-spec start_peer(map()) -> peer().
start_peer(Options) ->
    {ok, Peer, Node} = peer:start_link(Options#{name => peer:random_name(), connection => standard_io}),
    {Peer, Node}.

-spec with_code() -> [string()].
with_code() ->
    ["-pa" | [filename:dirname(filename:absname(code:which(Module))) || Module <- [py, ?MODULE]]].

%% @doc End a node without a word of farewell.
-spec kill(node()) -> ok.
kill(Node) ->
    OsPid = os_pid(Node),
    py_os_process:kill(OsPid).

%% @doc Stop a node where it stands. It is still taken for connected.
-spec freeze(node()) -> {frozen, pos_integer()}.
freeze(Node) ->
    OsPid = os_pid(Node),
    signal("STOP", OsPid),
    {frozen, OsPid}.

-spec thaw({frozen, pos_integer()}) -> ok.
thaw({frozen, OsPid}) -> signal("CONT", OsPid).

signal(Name, OsPid) ->
    "" = os:cmd(lists:concat(["kill -", Name, " ", OsPid])),
    ok.

os_pid(Node) -> list_to_integer(erpc:call(Node, os, getpid, [], 5_000)).
