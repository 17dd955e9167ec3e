%%% @doc What Python asks of Erlang: print a text, send a message, log a record, call a function.
%%%
%%% Nothing here makes the worker process wait: texts go to the group leader as an I/O request whose answer nobody
%%% reads, calls run in a process of their own, which hands its answer to the worker.
-module(py_request).

-export([run/3, print/2, deliver/2, log/2, call/3, drop/1, is_run_by/2]).
-export_type([running/0]).

-type context() :: #{
    group_leader := pid(),
    metadata := map(),
    callbacks => all | none | [{module(), Function :: atom()}],
    wire => module()
}.
-opaque running() :: none | {Runner :: pid(), Keeper :: pid()}.
%% What runs a function that Python calls.
%% `callbacks' is what Python may call, `all' where nothing is said; `wire' is the module that spells the answers,
%% {@link py_wire} where none is named.

%% @doc Do what one request asks. What it says of the worker's own calls is the worker's to do: that objects which a call made
%% are its caller's (`own'); that a call answers later (`later'), is in the middle of an import (`importing'), or waits for an
%% answer (`asked'), is not to be waited for (`told'), or does not want it (`dropped').
-spec run(py_wire:request() | error, {Worker :: pid(), Incarnation :: pos_integer()}, context()) ->
    ok | {own, Id :: integer(), [term()]} | {later | importing | told | dropped, Id :: term()} | {asked, Id :: term(), running()}
    | error.
run({print, Text}, _, Context) ->
    print(Text, Context);
run({message, Worker, {'$py.own', Id, Made}}, {Worker, _}, _) when is_integer(Id), length(Made) >= 0 ->
    {own, Id, Made};
run({message, Worker, {'$py.later', Id}}, {Worker, _}, _) ->
    {later, Id};
run({message, Worker, {'$py.told', Id}}, {Worker, _}, _) ->
    {told, Id};
run({message, Worker, {'$py.dropped', Id}}, {Worker, _}, _) ->
    {dropped, Id};
run({message, Worker, {'$py.importing', Id}}, {Worker, _}, _) ->
    {importing, Id};
run({message, Worker, {'$py.log', {Level, _, _, _, _} = Record}}, {Worker, _}, Context) when is_atom(Level) ->
    log(Record, Context);
%% What a process of OTP's obeys would be obeyed. It has no message for Python's users.
run({message, Worker, _}, {Worker, _}, _) ->
    ok;
run({message, To, Message}, _, _) ->
    deliver(To, Message);
run({call, Id, _, _, _, _} = Call, To, Context) ->
    {asked, Id, call(Call, To, Context)};
run({handler_error, Error}, _, #{metadata := Metadata}) ->
    logger:error("Python's message handler failed: ~ts", [py_error:text(Error)], Metadata);
run(error, _, _) ->
    error.

%% @doc Print a text where the caller prints.
-spec print(unicode:chardata(), context()) -> ok.
print(Text, #{group_leader := Leader}) ->
    Leader ! {io_request, self(), make_ref(), {put_chars, unicode, Text}},
    ok.

%% @doc Send a message for Python. A name that is not registered loses it, as `gen_server:cast/2' does; a connection that
%% has to be made first is another process's to wait for.
-spec deliver(term(), term()) -> ok.
deliver(To, Message) ->
    try erlang:send(To, Message, [noconnect, nosuspend]) of
        ok -> ok;
        _ ->
            _ = spawn(erlang, send, [To, Message]),
            ok
    catch
        error:badarg -> ok
    end.

%% @doc Log a record of Python's `logging' with `logger'.
-spec log({Level :: logger:level(), Name :: string(), Text :: string(), File :: string(), Line :: pos_integer()},
    context()) -> ok.
log({Level, Name, Text, File, Line}, #{metadata := Metadata, group_leader := Leader}) ->
    Known = lists:member(Level, [debug, info, warning, error, critical]),
    logger:log(if Known -> Level; true -> notice end, "~ts", [text(Text)], Metadata#{
        domain => [py, python], py_logger => text(Name), file => text(File), line => Line, gl => Leader
    }).

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
    case is_allowed({Module, Function}, maps:get(callbacks, Context, all)) of
        true ->
            spawned(Call, To, Context);
        false ->
            Refused = {erlang, error, {callback_not_allowed, {Module, Function, length(Args)}}, []},
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
