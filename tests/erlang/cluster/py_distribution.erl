%%% This node as one of several, and others beside it.
-module(py_distribution).

-export([start/0, stop/1, start_peer/0, start_peer/1, start_pair/2, stop_pair/1, start_py/2, with_code/0, kill/1, while_frozen/2]).

-type peer() :: {pid(), node()}.

-type epmd() :: somebody_elses | {ours, pos_integer()}.

-define(NAMED_WITHIN_MS, 10_000).
-define(NAMES_ARE_GONE_WITHIN_MS, 2_000).

%% @doc Give this node a name; returns what `stop/1' wants. The port mapper is the one of `ERL_EPMD_PORT', which `make test'
%% sets to a port of its own; it is started here where there is none.
-spec start() -> epmd().
start() -> start(erlang:monotonic_time(millisecond) + ?NAMED_WITHIN_MS).

%% Whoever has started the one that is there may end it before this node is in its list.
start(Deadline) ->
    Epmd = epmd(),
    case net_kernel:start([list_to_atom("py_test_" ++ os:getpid()), shortnames]) of
        {ok, _} ->
            Epmd;
        {error, Reason} ->
            end_epmd(Epmd),
            erlang:monotonic_time(millisecond) < Deadline orelse error(Reason),
            start(Deadline)
    end.

-spec stop(epmd()) -> ok.
stop(Epmd) ->
    ok = net_kernel:stop(),
    end_epmd(Epmd).

epmd() ->
    case is_epmd_there() of
        true ->
            somebody_elses;
        false ->
            %% In the foreground of a shell that ends: so its process is known, which nobody else can have started.
            OsPid = list_to_integer(string:trim(os:cmd("epmd </dev/null >/dev/null 2>&1 & echo $!"))),
            py_eventually:holds(fun is_epmd_there/0),
            %% Two that start one at the same time have one.
            case py_os_process:alive(OsPid) of
                true -> {ours, OsPid};
                false -> somebody_elses
            end
    end.

%% One that others have found is left to them.
end_epmd(somebody_elses) ->
    ok;
end_epmd({ours, OsPid}) ->
    try py_eventually:equals({ok, []}, fun erl_epmd:names/0, ?NAMES_ARE_GONE_WITHIN_MS) of
        ok -> py_os_process:kill(OsPid)
    catch
        error:{never, _} -> ok
    end.

is_epmd_there() -> element(1, erl_epmd:names()) =:= ok.

%% @doc This node with one worker, and another with so many that outlives the calling process, for a suite's configuration: `distribution',
%% `peer', `node'.
-spec start_pair(Workers :: pos_integer(), [{atom(), term()}]) -> [{atom(), term()}].
start_pair(Workers, Config) ->
    Distribution = start(),
    ok = py_application:start([{default, #{size => 1}}]),
    {Peer, Node} = start_peer(),
    {ok, started} = py_cluster:start(Node, #{pools => [{default, #{size => Workers}}]}),
    unlink(Peer),
    [{distribution, Distribution}, {peer, Peer}, {node, Node} | Config].

-spec stop_pair([{atom(), term()}]) -> ok.
stop_pair(Config) ->
    peer:stop(proplists:get_value(peer, Config)),
    ok = py_application:stop(),
    stop(proplists:get_value(distribution, Config)).

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
