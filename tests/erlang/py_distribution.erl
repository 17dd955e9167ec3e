%%% This node as one of several, and others beside it.
-module(py_distribution).

-export([start/0, stop/1, start_peer/0, start_peer/1, start_py/2, with_code/0, kill/1, while_frozen/2]).

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

%% @doc Start the application there, with these pools. It makes no connection to other nodes.
-spec start_py(node(), [{atom(), map()}]) -> {ok, started} | {error, term()}.
start_py(Node, Pools) ->
    ok = erpc:call(Node, application, load, [py]),
    ok = erpc:call(Node, application, set_env, [py, pools, Pools]),
    erpc:call(Node, py, start, []).

-spec with_code() -> [string()].
with_code() ->
    ["-pa" | [filename:dirname(filename:absname(code:which(Module))) || Module <- [py, ?MODULE]]].

%% @doc End a node without a word of farewell.
-spec kill(node()) -> ok.
kill(Node) ->
    OsPid = os_pid(Node),
    py_os_process:kill(OsPid).

%% @doc Run `Fun' while a node stands still, which others take for connected. It goes on afterwards whatever `Fun' does: a
%% stopped node can't be ended by its parent.
-spec while_frozen(node(), fun(() -> Result)) -> Result.
while_frozen(Node, Fun) ->
    OsPid = os_pid(Node),
    signal("STOP", OsPid),
    try
        Fun()
    after
        signal("CONT", OsPid)
    end.

signal(Name, OsPid) ->
    "" = os:cmd(lists:concat(["kill -", Name, " ", OsPid])),
    ok.

os_pid(Node) -> list_to_integer(erpc:call(Node, os, getpid, [], 5_000)).
