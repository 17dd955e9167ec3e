%%% @doc What Python asks of Erlang: print a text, send a message, log a record, call a function.
%%%
%%% Nothing here makes the worker process wait: calls run in a process of their own, which hands its answer to the worker.
%%% @private
-module(py_request).

-export([run/3, call/3, drop/1, is_run_by/2, is_run_for/2]).
-export_type([running/0]).

-type context() :: #{group_leader := pid(), callbacks => all | none | [{module(), Function :: atom()}], wire => module()}.
%% `callbacks' is what Python may call, `all' where nothing is said; `wire' is the module that spells the answers,
%% {@link py_wire} where none is named.
-opaque running() :: none | {Runner :: pid(), Keeper :: pid()}.
%% What runs a function that Python calls.

%% @doc Do what one request asks. What it says unasked is the interpreter's to let out (`output', and `uncounted' for what Python does
%% not count; `output_of' the call with an id, in a thread or a coroutine). What it says of the worker's own calls is the worker's to do: that objects which a call made are its caller's (`own');
%% that a call answers later (`later'), will not begin (`unbegun'), is in the middle of an import (`importing'), or waits for an answer (`asked', by whom), goes on
%% behind one (`goes_on'), is not to be
%% waited for (`told'), lets no call nest in it (`alone'), or does not want it (`dropped'); and of itself, whether it holds what others
%% rely on (`holds'), and which signal interrupts it (`signal').
-spec run(py_wire:request() | error, {Worker :: pid(), Incarnation :: pos_integer()}, context()) ->
    {output | uncounted, py_outlet:output()}
    | {output_of, Id :: integer(), py_outlet:output()}
    | {own, Id :: integer(), [term()]}
    | {later | unbegun | importing | alone | told | goes_on | dropped, Id :: term()}
    | {holds, boolean()}
    | {signal, 1..64}
    | {asked, Id :: term(), Whose :: py_wire:id() | 0 | unknown, running()}
    | error.
run({print, Text}, _, _) ->
    {output, {print, Text}};
run({message, Worker, {'$py.own', Id, Made}}, {Worker, _}, _) when is_integer(Id), length(Made) >= 0 ->
    {own, Id, Made};
run({message, Worker, {'$py.later', Id}}, {Worker, _}, _) ->
    {later, Id};
run({message, Worker, {'$py.unbegun', Id}}, {Worker, _}, _) ->
    {unbegun, Id};
run({message, Worker, {'$py.told', Id}}, {Worker, _}, _) ->
    {told, Id};
run({message, Worker, {'$py.goes_on', Id}}, {Worker, _}, _) ->
    {goes_on, Id};
run({message, Worker, {'$py.dropped', Id}}, {Worker, _}, _) ->
    {dropped, Id};
run({message, Worker, {'$py.importing', Id}}, {Worker, _}, _) ->
    {importing, Id};
run({message, Worker, {'$py.alone', Id}}, {Worker, _}, _) ->
    {alone, Id};
run({message, Worker, {'$py.signal', Signal}}, {Worker, _}, _) when Signal >= 1, Signal =< 64, is_integer(Signal) ->
    {signal, Signal};
run({message, Worker, {'$py.holds', Holds}}, {Worker, _}, _) when is_boolean(Holds) ->
    {holds, Holds};
run({message, Worker, {'$py.log', {Level, _, _, _, _} = Record}}, {Worker, _}, _) when is_atom(Level) ->
    {output, record(Record)};
run({message, Worker, {'$py.log', Id, {Level, _, _, _, _} = Record}}, {Worker, _}, _) when is_integer(Id), is_atom(Level) ->
    {output_of, Id, record(Record)};
run({message, Worker, {'$py.print', Id, Text}}, {Worker, _}, _) when is_integer(Id) ->
    {output_of, Id, {print, Text}};
%% A worker process would obey what any process of OTP's obeys, and has no message for Python's users.
run({message, To, Message}, {Worker, _}, _) ->
    case To =:= Worker orelse py_registry:place(To) =/= error of
        true -> {output, ignored};
        false -> {output, {send, To, Message}}
    end;
run({call, Id, _, _, _, Whose} = Call, To, Context) ->
    {asked, Id, if is_integer(Whose) -> Whose; true -> unknown end, call(Call, To, Context)};
run({handler_error, Error}, _, _) ->
    {uncounted, {log, error, ["Python's message handler failed: ", py_error:text(Error)], #{}}};
run(error, _, _) ->
    error.

%% As a record of Python's `logging' for `logger'.
record({Level, Name, Text, File, Line}) ->
    Known = lists:member(Level, [debug, info, warning, error, critical]),
    Metadata = #{domain => [py, python], py_logger => text(Name), file => text(File), line => Line},
    {log, if Known -> Level; true -> notice end, text(Text), Metadata}.

%% A handler that fails is removed by `logger': whatever a record holds, it is a text here.
text(Text) ->
    try unicode:characters_to_list(Text) of
        List when is_list(List) -> List;
        _ -> lists:flatten(io_lib:format("~tp", [Text]))
    catch
        error:badarg -> lists:flatten(io_lib:format("~tp", [Text]))
    end.

%% @doc Run a function that Python calls and send `{py_answer, Incarnation, Id, Frame}' to the worker, also when the process
%% that runs it is killed. With the context `'L'' the port's owner itself runs what asks about a process (`erlang:self/0');
%% any other function could hold up the worker. Which functions Python may call is the pool's to say (`callbacks').
-spec call(py_wire:request(), {Worker :: pid(), Incarnation :: pos_integer() | port()}, context()) -> running().
call({call, Id, erlang, Function, Args, 'L'}, {Worker, Incarnation}, Context) when
    (Function =:= self orelse Function =:= make_ref orelse Function =:= node) andalso Args =:= [];
    Function =:= whereis andalso length(Args) =:= 1 andalso is_atom(hd(Args))
->
    Worker ! {py_answer, Incarnation, Id, (wire(Context)):result(Id, apply(erlang, Function, Args))},
    none;
call({call, Id, Module, Function, Args, _} = Call, {Worker, Incarnation} = To, Context) ->
    {Named, Name, Given} = py_trace:named(Module, Function, Args),
    case is_allowed({Named, Name}, maps:get(callbacks, Context, all)) of
        true ->
            spawned(Call, To, Context);
        false ->
            Refused = {erlang, error, {callback_not_allowed, {Named, Name, length(Given)}}, []},
            Worker ! {py_answer, Incarnation, Id, (wire(Context)):failure(Id, Refused)},
            none
    end.

is_allowed(_, all) -> true;
is_allowed(_, none) -> false;
is_allowed(Function, Functions) -> lists:member(Function, Functions).

spawned({call, Id, Module, Function, Args, _}, {Worker, Incarnation}, #{group_leader := Leader} = Context) ->
    Wire = wire(Context),
    Runner = spawn(fun() ->
        receive
            go ->
                group_leader(Leader, self()),
                Worker ! {py_answer, Incarnation, Id, answer(Wire, Id, Module, Function, Args)}
        end
    end),
    Keeper = spawn(fun() ->
        Monitor = monitor(process, Runner),
        Runner ! go,
        receive
            {'DOWN', Monitor, process, _, normal} -> ok;
            {'DOWN', Monitor, process, _, Reason} ->
                Worker ! {py_answer, Incarnation, Id, Wire:failure(Id, {erlang, exit, Reason, []})};
            drop -> exit(Runner, kill)
        end
    end),
    {Runner, Keeper}.

%% @doc Nobody wants its answer any more: it ends, wherever it is, and nothing is answered.
-spec drop(running()) -> ok.
drop(none) ->
    ok;
drop({_Runner, Keeper}) ->
    Keeper ! drop,
    ok.

%% @doc Whether this process runs the function.
-spec is_run_by(pid(), running()) -> boolean().
is_run_by(Pid, {Runner, _Keeper}) -> Pid =:= Runner;
is_run_by(_Pid, none) -> false.

%% @doc Whether it runs one of them.
-spec is_run_for(pid(), [running()]) -> boolean().
is_run_for(Pid, Some) -> lists:any(fun(Running) -> is_run_by(Pid, Running) end, Some).

%% The one place that catches whatever the called function throws: it belongs to Python's caller.
answer(Wire, Id, Module, Function, Args) ->
    try apply(Module, Function, Args) of
        Value -> Wire:result(Id, Value)
    catch
        error:{python, Class, Text, Trace} -> Wire:failure(Id, {python, Class, Text, Trace});
        Class:Reason:Stack -> Wire:failure(Id, {erlang, Class, Reason, Stack})
    end.

wire(#{wire := Wire}) -> Wire;
wire(_) -> py_wire.
