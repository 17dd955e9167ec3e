%%% A way to a port of this machine that takes its time: what goes in comes out so many milliseconds later, in order and
%%% with no bound on how much is under way.
-module(py_delay).

-export([start/2, set/1]).

%% @doc A port that leads to `To' from now on.
-spec start(inet:port_number(), OneWayMs :: non_neg_integer()) -> inet:port_number().
start(To, Ms) ->
    set(Ms),
    {ok, Listener} = gen_tcp:listen(0, options()),
    {ok, Port} = inet:port(Listener),
    Acceptor = spawn_link(fun() -> receive go -> accept(Listener, To) end end),
    ok = gen_tcp:controlling_process(Listener, Acceptor),
    Acceptor ! go,
    Port.

%% @doc How long each way is, for all of them.
-spec set(OneWayMs :: non_neg_integer()) -> ok.
set(Ms) -> persistent_term:put(?MODULE, Ms).

options() -> [binary, {packet, raw}, {active, false}, {nodelay, true}, {ip, {127, 0, 0, 1}}].

accept(Listener, To) ->
    {ok, Near} = gen_tcp:accept(Listener),
    {ok, Far} = gen_tcp:connect({127, 0, 0, 1}, To, options()),
    way(Near, Far),
    way(Far, Near),
    accept(Listener, To).

way(From, To) ->
    Writer = spawn_link(fun() -> write(To) end),
    spawn_link(fun() -> read(From, Writer) end).

read(From, Writer) ->
    case gen_tcp:recv(From, 0) of
        {ok, Bytes} ->
            Writer ! {erlang:monotonic_time(millisecond) + persistent_term:get(?MODULE), Bytes},
            read(From, Writer);
        {error, _} ->
            Writer ! close
    end.

write(To) ->
    receive
        {At, Bytes} ->
            receive after max(0, At - erlang:monotonic_time(millisecond)) -> ok end,
            _ = gen_tcp:send(To, Bytes),
            write(To);
        close ->
            gen_tcp:close(To)
    end.
