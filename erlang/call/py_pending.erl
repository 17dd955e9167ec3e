%%% @doc Encoded calls that a process has open and does not wait for: their answers come to it as messages.
%%%
%%% The value belongs to the process that made it, which gives it each message that is not its own:
%%%
%%% ```
%%%   {ok, Pending1} = py_pending:send(Key, Body, Route, Owner, Pending),
%%%   receive
%%%       Message ->
%%%           case py_pending:message(Message, Pending1) of
%%%               {answer, Key, Answer, Pending2} -> ...      the call is over
%%%               {wait, Pending2} -> ...                     it was about one of them
%%%               unknown -> ...                              it was not, or comes too late: to be dropped
%%%           end
%%%   end
%%% '''
%%%
%%% A call costs an alias that is a monitor of its worker, and a timer where it has a deadline; no process, but where another node has to
%%% be asked. Each is answered once: by its worker, by its timer, which runs in the process of the value, or by what
%%% its owner's death says. What was not begun goes to another worker, with the same bytes.
%%%
%%% How many are open is bounded by whoever sends: there are at most an answer, a `DOWN' and a `timeout' for each in its mailbox, and
%%% in its memory the bodies and the answers that it has not taken. A process that writes to others while they do not read must stop
%%% sending, by {@link size/1} and by bytes; one that waits for anything else is late with its deadlines.
%%% @private
-module(py_pending).

-export([new/0, send/5, message/2, cancel/2, size/1]).
-export_type([pending/0, answer/0, origin/0]).

-record(call, {
    body :: py_wire:body(),
    route :: py_route:route(),
    owner :: py_owners:owner(),
    deadline = infinity :: py_deadline:deadline(),
    timer = none :: none | reference(),
    %% The monitor of an owner that is not this process.
    watched = none :: none | reference(),
    at = nowhere :: nowhere | {worker | runner, pid(), reference()}
}).
-record(pending, {
    calls = #{} :: #{Key :: term() => #call{}},
    %% Whose an alias or a monitor is.
    keys = #{} :: #{reference() => Key :: term()}
}).
-opaque pending() :: #pending{}.
-type origin() :: {Worker :: pid(), Call :: reference()} | elsewhere.
%% The worker of this node that has answered, and the number of the call there (see `py_shared_owner').
-type answer() :: {frame, binary(), py_send:trust(), origin()} | {error, {py, py_error:reason()}}.

-define(DROPPED, [{async, true}, {info, false}]).

-spec new() -> pending().
new() -> #pending{}.

%% @doc How many calls are open.
-spec size(pending()) -> non_neg_integer().
size(#pending{calls = Calls}) -> map_size(Calls).

%% @doc Send a call under a key that none of the open ones has. Its timeout begins now. What Python prints goes to this process's
%% group leader.
-spec send(Key :: term(), py_wire:body(), py_route:route(), py_owners:owner(), pending()) ->
    {ok, pending()} | {error, {py, py_error:reason()}}.
send(Key, Body, Route, Owner, Pending) ->
    Call = #call{body = Body, route = Route, owner = Owner},
    case py_route:local(Route) of
        {Kind, Worker, Default} ->
            Deadline = py_deadline:after_ms(maps:get(timeout, Route, Default)),
            {ok, asked(Key, Kind, Worker, timed(Key, watched(Call#call{deadline = Deadline})), Pending)};
        remote ->
            Deadline = py_deadline:after_ms(maps:get(timeout, Route, infinity)),
            {ok, elsewhere(Key, timed(Key, watched(Call#call{deadline = Deadline})), Pending)};
        {error, _} = Error ->
            Error
    end.

%% An owner with a keeper is looked after by that.
watched(#call{owner = Owner} = Call) when is_pid(Owner), Owner =/= self() -> Call#call{watched = monitor(process, Owner)};
watched(Call) -> Call.

timed(_Key, #call{deadline = infinity} = Call) ->
    Call;
timed(Key, #call{deadline = Deadline} = Call) ->
    Call#call{timer = erlang:start_timer(Deadline, self(), {?MODULE, late, Key}, [{abs, true}])}.

asked(Key, Kind, Worker, #call{body = Body, owner = Owner} = Call, Pending) ->
    at({worker, Worker, py_send:ask(Kind, Worker, Body, Owner)}, Key, Call, Pending).

at({_, _, Alias} = At, Key, #call{watched = Watched} = Call, #pending{calls = Calls, keys = Keys}) ->
    Known =
        case Watched of
            none -> Keys;
            _ -> Keys#{Watched => Key}
        end,
    #pending{calls = Calls#{Key => Call#call{at = At}}, keys = Known#{Alias => Key}}.

%% On another node a call is a process anyway. This one ends with the process that has sent it, or is killed, and so cancels it there.
elsewhere(Key, #call{body = Body, route = Route, owner = Owner, deadline = Deadline} = Call, Pending) ->
    Asker = self(),
    Runner = spawn(fun() ->
        receive
            {go, Alias} ->
                py_transit:end_with(Asker),
                Alias ! {Alias, py_route:send(Body, py_deadline:timed(Route, Deadline), Owner)}
        end
    end),
    Alias = monitor(process, Runner, [{alias, reply_demonitor}]),
    Runner ! {go, Alias},
    at({runner, Runner, Alias}, Key, Call, Pending).

%% @doc What a message to the calling process says. `unknown': it belongs to none of the open calls, and may be the answer to one that
%% is over.
-spec message(term(), pending()) -> {answer, Key :: term(), answer(), pending()} | {wait, pending()} | unknown.
message({Alias, Answer} = Message, #pending{keys = Keys} = Pending) when is_map_key(Alias, Keys) ->
    {Key, #call{at = {Kind, Pid, Alias}} = Call} = found(Alias, Pending),
    case Kind of
        worker -> answered(py_send:answer(Message, Pid), Key, Call, Pending);
        runner -> answered(Answer, Key, Call, Pending)
    end;
message({'DOWN', Monitor, process, _, Reason} = Message, #pending{keys = Keys} = Pending) when is_map_key(Monitor, Keys) ->
    case found(Monitor, Pending) of
        {Key, #call{at = {worker, Worker, Monitor}} = Call} ->
            answered(py_send:answer(Message, Worker), Key, Call, Pending);
        {Key, #call{at = {runner, _, Monitor}}} ->
            over(Key, {error, {py, {worker_down, Reason}}}, Pending);
        {Key, #call{watched = Monitor}} ->
            {answer, Key, {error, {py, cancelled}}, cancel(Key, Pending)}
    end;
message({timeout, Timer, {?MODULE, late, Key}}, #pending{calls = Calls} = Pending) ->
    case Calls of
        #{Key := #call{timer = Timer}} -> {answer, Key, {error, {py, timeout}}, cancel(Key, timeout, Pending)};
        #{} -> {wait, Pending}
    end;
message({timeout, _, {?MODULE, again, Key, Watched}}, #pending{calls = Calls} = Pending) ->
    case Calls of
        #{Key := #call{at = {worker, _, Watched}} = Call} -> again(Key, Call, Pending);
        #{} -> {wait, Pending}
    end;
message(_Message, _Pending) ->
    unknown.

found(Reference, #pending{calls = Calls, keys = Keys}) ->
    #{Reference := Key} = Keys,
    {Key, map_get(Key, Calls)}.

answered({frame, Frame, Trust, Worker}, Key, #call{at = {_, Worker, Alias}}, Pending) ->
    case py_send:seen(Frame, Trust, Worker) of
        {frame, _, _} -> over(Key, {frame, Frame, Trust, {Worker, Alias}}, Pending);
        {error, _} = Error -> over(Key, Error, Pending)
    end;
answered({frame, Frame, Trust}, Key, _Call, Pending) ->
    over(Key, {frame, Frame, Trust, elsewhere}, Pending);
answered({error, _} = Error, Key, _Call, Pending) ->
    over(Key, Error, Pending);
answered(moved, Key, Call, Pending) ->
    again(Key, Call, Pending);
%% A process that looks for another worker at once would keep a core so.
answered({gone, Ms}, Key, #call{at = {_, _, Alias}}, Pending) ->
    _ = erlang:start_timer(Ms, self(), {?MODULE, again, Key, Alias}),
    {wait, Pending}.

again(Key, #call{route = Route, at = {_, _, Alias}} = Call, #pending{keys = Keys} = Pending) ->
    py_events:emit([call, retry], #{}, #{pool => maps:get(pool, Route, default)}),
    Left = Pending#pending{keys = maps:remove(Alias, Keys)},
    case py_route:local(Route) of
        {Kind, Worker, _} -> {wait, asked(Key, Kind, Worker, Call, Left)};
        remote -> {wait, elsewhere(Key, Call, Left)};
        {error, _} = Error -> over(Key, Error, Pending)
    end.

over(Key, Answer, Pending) -> {answer, Key, Answer, forgotten(Key, Pending)}.

forgotten(Key, #pending{calls = Calls, keys = Keys}) ->
    {#call{timer = Timer, watched = Watched, at = {_, _, Alias}}, Left} = maps:take(Key, Calls),
    Timer =:= none orelse erlang:cancel_timer(Timer, ?DROPPED),
    Watched =:= none orelse demonitor(Watched),
    #pending{calls = Left, keys = maps:without([Alias, Watched], Keys)}.

%% @doc Nobody wants the answer any more: the call ends, and none comes. What is over already is so still.
-spec cancel(Key :: term(), pending()) -> pending().
cancel(Key, Pending) -> cancel(Key, cancelled, Pending).

cancel(Key, Why, #pending{calls = Calls} = Pending) ->
    case Calls of
        #{Key := #call{at = {worker, Worker, Alias}}} ->
            py_send:cancel(Worker, Alias, Why),
            forgotten(Key, Pending);
        #{Key := #call{at = {runner, Runner, Alias}}} ->
            demonitor(Alias),
            exit(Runner, kill),
            forgotten(Key, Pending);
        #{} ->
            Pending
    end.
