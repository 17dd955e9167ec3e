%%% @doc What one driver has done in Erlang: functions that it calls, and pools that are its own. Nothing of it runs in the connection's process.
%%%
%%% A process for each function; how many there are the connection decides, which is told `{over, Calls}' when one has ended. What there is
%%% to say goes to it as `{said, Id, Frame}'; of an id that is over already that drops it. All ends with the connection.
%%% @private
-module(py_gateway_calls).

-export([start_link/0, run/3, cancel/2]).
-export_type([work/0]).

-type work() ::
    {call, module(), Function :: atom(), Args :: [term()]}
    | {start_pool, Options :: map()}
    | {stop_pool, py_config:pool_name()}
    | {status, fun(() -> map())}.

-record(state, {
    connection :: pid(),
    running = #{} :: #{pid() => py_gateway_wire:id()},
    keepers = #{} :: #{py_config:pool_name() => pid()}
}).

%% @doc For the calling connection.
-spec start_link() -> pid().
start_link() ->
    Connection = self(),
    spawn_link(fun() ->
        process_flag(trap_exit, true),
        loop(#state{connection = Connection})
    end).

-spec run(pid(), py_gateway_wire:id(), work()) -> ok.
run(Calls, Id, Work) ->
    Calls ! {run, Id, Work},
    ok.

%% @doc Nobody wants it any more: it is killed.
-spec cancel(pid(), py_gateway_wire:id()) -> ok.
cancel(Calls, Id) ->
    Calls ! {cancel, Id},
    ok.

loop(#state{connection = Connection} = State) ->
    receive
        {run, Id, Work} ->
            loop(begun(Id, Work, State));
        {cancel, Id} ->
            _ = [exit(Pid, kill) || {Pid, Of} <- maps:to_list(State#state.running), Of =:= Id],
            loop(State);
        {pool, Keeper, Name} ->
            loop(State#state{keepers = (State#state.keepers)#{Name => Keeper}});
        {'EXIT', Connection, _Reason} ->
            ended(State);
        {'EXIT', Pid, Reason} ->
            loop(over(Pid, Reason, State));
        _ ->
            loop(State)
    end.

begun(Id, {stop_pool, Name}, #state{keepers = Keepers, connection = Connection} = State) ->
    ok = case Keepers of
        #{Name := Keeper} ->
            Keeper ! {stop, Id},
            ok;
        #{} ->
            say(Connection, Id, py_gateway_wire:failed(Id, {unknown_pool, Name}))
    end,
    Connection ! {over, self()},
    State;
begun(Id, Work, #state{connection = Connection, running = Running} = State) ->
    Calls = self(),
    Pid = spawn_link(fun() ->
        %% What it prints is the driver's to see.
        group_leader(Connection, self()),
        work(Id, Work, Connection, Calls)
    end),
    State#state{running = Running#{Pid => Id}}.

%% The end of one that has said its result is normal.
over(Pid, Reason, #state{running = Running, keepers = Keepers, connection = Connection} = State) ->
    case maps:take(Pid, Running) of
        {Id, Left} ->
            Reason =:= normal orelse say(Connection, Id, answer({raised, Id, exit, Reason, []})),
            Connection ! {over, self()},
            State#state{running = Left};
        error ->
            State#state{keepers = maps:filter(fun(_, Keeper) -> Keeper =/= Pid end, Keepers)}
    end.

-spec ended(#state{}) -> no_return().
ended(#state{running = Running}) ->
    _ = [exit(Pid, kill) || Pid <- maps:keys(Running)],
    %% Keepers stop their pools first.
    exit(shutdown).

say(Connection, Id, Frame) ->
    Connection ! {said, Id, Frame},
    ok.

%%% The processes

work(Id, {call, Module, Function, Args}, Connection, _Calls) ->
    say(Connection, Id, answer(called(Id, Module, Function, Args)));
work(Id, {status, Status}, Connection, _Calls) ->
    say(Connection, Id, py_gateway_wire:encode({result, Id, Status()}));
work(Id, {start_pool, Options}, Connection, Calls) ->
    Runner = self(),
    Keeper = spawn(fun() -> keep(Id, Options, Connection, Calls, Runner) end),
    Monitor = monitor(process, Keeper),
    receive
        started -> ok;
        {'DOWN', Monitor, process, Keeper, _} -> ok
    end.

%% The one place that catches whatever the called function throws: it belongs to the driver.
called(Id, Module, Function, Args) ->
    try
        {result, Id, apply(Module, Function, Args)}
    catch
        Class:Reason:Stack -> {raised, Id, Class, Reason, Stack}
    end.

answer(Message) ->
    {_, Bytes} = Frame = py_gateway_wire:encode(Message),
    case Bytes =< py_gateway_wire:packet_bytes() of
        true ->
            Frame;
        false ->
            Text = iolist_to_binary(io_lib:format("the result takes ~w bytes, and a packet has ~w", [Bytes, py_gateway_wire:packet_bytes()])),
            py_gateway_wire:encode({raised, element(2, Message), error, {py, {encode, Text}}, []})
    end.

%%% Pools of the driver

%% It outlives whoever has asked for it, and ends with the process of the connection's calls.
keep(Id, Options, Connection, Calls, Runner) ->
    process_flag(trap_exit, true),
    link(Calls),
    case py_gateway_pools:check(Options) of
        {ok, Config} -> started(py_gateway_pools:start(Config), Id, Connection, Calls, Runner);
        {error, Text} -> say(Connection, Id, py_gateway_wire:failed(Id, {link, Text}))
    end.

started({ok, Name, Owner}, Id, Connection, Calls, Runner) ->
    case is_process_alive(Runner) of
        true ->
            Calls ! {pool, self(), Name},
            say(Connection, Id, py_gateway_wire:encode({result, Id, Name})),
            Runner ! started,
            kept(Name, Owner, Connection, Calls);
        %% The driver does not want it any more.
        false ->
            stopped(Owner)
    end;
started({error, {py, Reason}}, Id, Connection, _Calls, _Runner) ->
    say(Connection, Id, py_gateway_wire:failed(Id, Reason));
started({error, Reason}, Id, Connection, _Calls, _Runner) ->
    say(Connection, Id, py_gateway_wire:failed(Id, Reason)).

kept(Name, Owner, Connection, Calls) ->
    receive
        {stop, Id} ->
            stopped(Owner),
            say(Connection, Id, py_gateway_wire:encode({result, Id, ok}));
        {'EXIT', Owner, _} ->
            ok;
        {'EXIT', Calls, _} ->
            stopped(Owner);
        _ ->
            kept(Name, Owner, Connection, Calls)
    end.

stopped(Owner) ->
    Monitor = monitor(process, Owner),
    exit(Owner, shutdown),
    receive
        {'DOWN', Monitor, process, Owner, _} -> ok
    end.
