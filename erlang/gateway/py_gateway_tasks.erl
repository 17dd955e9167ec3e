%%% @doc The tasks of one driver: those that wait, and those that were given to workers. A value of the connection's process.
%%%
%%% Each pool, and each worker that tasks name, is a lane. How many tasks of a lane are given depends on how large its last answers
%%% were: all of them may come while the driver does not read. The rest waits here, in order, with a timer each. See "A connection" in
%%% docs/architecture.md.
%%% @private
-module(py_gateway_tasks).

-export([new/0, submit/5, give/1, message/2, cancel/2, drop/2, is_open/2, count/1, body_bytes/1, close/1]).
-export_type([tasks/0]).

-type lane() :: py_config:pool_name() | pid().
-record(lane, {
    given = 0 :: non_neg_integer(),
    %% How many may be given as far as is known: it grows with each answer.
    window :: pos_integer(),
    %% Of an answer, in bytes.
    average = 0 :: non_neg_integer(),
    waiting = gb_sets:new() :: gb_sets:set({Turn :: pos_integer(), py_gateway_wire:id()})
}).
-record(waits, {
    lane :: lane(),
    turn :: pos_integer(),
    body :: binary(),
    route :: py_route:route(),
    deadline :: py_deadline:deadline(),
    timer :: reference() | none
}).
-record(given, {lane :: lane(), bytes :: non_neg_integer()}).
-record(tasks, {
    pending = py_pending:new() :: py_pending:pending(),
    open = #{} :: #{py_gateway_wire:id() => #waits{} | #given{}},
    lanes = #{} :: #{lane() => #lane{}},
    turn = 1 :: pos_integer(),
    bytes = 0 :: non_neg_integer()
}).
-opaque tasks() :: #tasks{}.

-define(ANSWER_BYTES, 8_388_608).
-define(MOST_WINDOW, 65_536).
-define(DROPPED, [{async, true}, {info, false}]).

-spec new() -> tasks().
new() -> #tasks{}.

%% @doc How many are open.
-spec count(tasks()) -> non_neg_integer().
count(#tasks{open = Open}) -> map_size(Open).

%% @doc How many bytes their bodies have.
-spec body_bytes(tasks()) -> non_neg_integer().
body_bytes(#tasks{bytes = Bytes}) -> Bytes.

-spec is_open(py_gateway_wire:id(), tasks()) -> boolean().
is_open(Id, #tasks{open = Open}) -> is_map_key(Id, Open).

%% @doc A new task; its deadline begins now. It is given at once where there is room for it, and where tasks may be given at all.
-spec submit(py_gateway_wire:id(), map(), binary(), MayGive :: boolean(), tasks()) -> {ok, tasks()} | {error, term()}.
submit(Id, Given, Body, MayGive, Tasks) ->
    case checked(Given) of
        {ok, Route} ->
            Lane = lane(Route),
            case limits(Lane) of
                {ok, Workers, Default} ->
                    Deadline = py_deadline:after_ms(maps:get(timeout, Route, Default)),
                    #lane{waiting = Waiting} = Known = known(Lane, Workers, Tasks),
                    case MayGive andalso gb_sets:is_empty(Waiting) andalso has_room(Known, Workers) of
                        true -> given(Id, Body, py_deadline:timed(Route, Deadline), Lane, Known, Tasks);
                        false -> {ok, waiting(Id, Body, Route, Deadline, Lane, Known, Tasks)}
                    end;
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

checked(Given) ->
    Route = maps:filter(fun(_, Value) -> Value =/= undefined end, Given),
    case [Key || {Key, Value} <- maps:to_list(Route), not is_route(Key, Value)] of
        [] -> {ok, Route};
        [Key | _] -> {error, {link, io_lib:format("a route has pool, worker, timeout and refs; ~tP is none or has another value", [Key, 8])}}
    end.

is_route(pool, Name) -> is_atom(Name);
is_route(worker, Worker) -> is_pid(Worker);
is_route(timeout, Timeout) -> Timeout =:= infinity orelse py_options:is_natural(Timeout);
is_route(refs, Workers) -> is_list(Workers) andalso length(Workers) >= 0 andalso lists:all(fun is_pid/1, Workers);
is_route(_, _) -> false.

lane(#{worker := Worker}) -> Worker;
lane(#{pool := Name}) -> Name;
lane(_) -> default.

limits(Worker) when is_pid(Worker) ->
    case py_registry:place(Worker) of
        {ok, {Name, _Slot}} ->
            case limits(Name) of
                {ok, _, Timeout} -> {ok, 1, Timeout};
                Error -> Error
            end;
        error ->
            {error, {unknown_worker, Worker}}
    end;
limits(Name) ->
    case py_registry:pool(Name) of
        {ok, #{size := Size, timeout := Timeout}} -> {ok, Size, Timeout};
        {error, _} = Error -> Error
    end.

known(Lane, Workers, #tasks{lanes = Lanes}) ->
    case Lanes of
        #{Lane := Known} -> Known;
        #{} -> #lane{window = 2 * Workers + 2}
    end.

%% One more than there are workers, so that none of them idles.
has_room(#lane{given = Given, window = Window, average = Average}, Workers) ->
    Given < max(Workers + 1, min(Window, ?ANSWER_BYTES div max(1, Average))).

given(Id, Body, Route, Lane, Known, #tasks{pending = Pending, open = Open, bytes = Bytes} = Tasks) ->
    case py_pending:send(Id, [Body], Route, self(), Pending) of
        {ok, Sent} ->
            Size = byte_size(Body),
            {ok, Tasks#tasks{
                pending = Sent,
                open = Open#{Id => #given{lane = Lane, bytes = Size}},
                lanes = (Tasks#tasks.lanes)#{Lane => Known#lane{given = Known#lane.given + 1}},
                bytes = Bytes + Size
            }};
        {error, {py, Reason}} ->
            {error, Reason}
    end.

waiting(Id, Body, Route, Deadline, Lane, #lane{waiting = Waiting} = Known, #tasks{turn = Turn, open = Open} = Tasks) ->
    Waits = #waits{lane = Lane, turn = Turn, body = Body, route = Route, deadline = Deadline, timer = timer(Id, Deadline)},
    Tasks#tasks{
        turn = Turn + 1,
        open = Open#{Id => Waits},
        lanes = (Tasks#tasks.lanes)#{Lane => Known#lane{waiting = gb_sets:add_element({Turn, Id}, Waiting)}},
        bytes = Tasks#tasks.bytes + byte_size(Body)
    }.

timer(_Id, infinity) -> none;
timer(Id, Deadline) -> erlang:start_timer(Deadline, self(), {?MODULE, Id}, [{abs, true}]).

%% @doc Give as many of those that wait as there is room for; those that can't be given any more come back with their reasons.
-spec give(tasks()) -> {[{py_gateway_wire:id(), Reason :: term()}], tasks()}.
give(#tasks{lanes = Lanes} = Tasks) ->
    maps:fold(fun(Lane, #lane{waiting = Waiting}, Acc) ->
        case gb_sets:is_empty(Waiting) of
            true -> Acc;
            false -> give(Lane, Acc)
        end
    end, {[], Tasks}, Lanes).

give(Lane, {Failed, #tasks{lanes = Lanes, open = Open} = Tasks}) ->
    #{Lane := #lane{waiting = Waiting} = Known} = Lanes,
    case {gb_sets:is_empty(Waiting), limits(Lane)} of
        {true, _} ->
            {Failed, Tasks};
        {false, {ok, Workers, _}} ->
            case has_room(Known, Workers) of
                true ->
                    {{_Turn, Id}, _} = gb_sets:take_smallest(Waiting),
                    #{Id := #waits{body = Body, route = Route, deadline = Deadline}} = Open,
                    #tasks{lanes = #{Lane := Shorter}} = Taken = taken(Id, Tasks),
                    case given(Id, Body, py_deadline:timed(Route, Deadline), Lane, Shorter, Taken) of
                        {ok, Next} -> give(Lane, {Failed, Next});
                        {error, Reason} -> give(Lane, {[{Id, Reason} | Failed], Taken})
                    end;
                false ->
                    {Failed, Tasks}
            end;
        %% The pool or the worker is gone.
        {false, {error, Reason}} ->
            {{_Turn, Id}, _} = gb_sets:take_smallest(Waiting),
            give(Lane, {[{Id, Reason} | Failed], taken(Id, Tasks)})
    end.

%% One that waited does not any more.
taken(Id, #tasks{open = Open, lanes = Lanes, bytes = Bytes} = Tasks) ->
    {#waits{lane = Lane, turn = Turn, body = Body, timer = Timer}, Left} = maps:take(Id, Open),
    Timer =:= none orelse erlang:cancel_timer(Timer, ?DROPPED),
    #{Lane := #lane{waiting = Waiting} = Known} = Lanes,
    Tasks#tasks{
        open = Left,
        lanes = Lanes#{Lane := Known#lane{waiting = gb_sets:del_element({Turn, Id}, Waiting)}},
        bytes = Bytes - byte_size(Body)
    }.

%% @doc What a message to the connection says of its tasks.
-spec message(term(), tasks()) -> {answer, py_gateway_wire:id(), py_pending:answer(), tasks()} | {wait, tasks()} | unknown.
message({timeout, Timer, {?MODULE, Id}}, #tasks{open = Open} = Tasks) ->
    case Open of
        #{Id := #waits{timer = Timer}} -> {answer, Id, {error, {py, timeout}}, taken(Id, Tasks)};
        #{} -> {wait, Tasks}
    end;
message(Message, #tasks{pending = Pending} = Tasks) ->
    case py_pending:message(Message, Pending) of
        {answer, Id, Answer, Next} -> {answer, Id, Answer, over(Id, size_of(Answer), Tasks#tasks{pending = Next})};
        {wait, Next} -> {wait, Tasks#tasks{pending = Next}};
        unknown -> unknown
    end.

size_of({frame, Frame, _, _}) -> byte_size(Frame);
size_of({error, _}) -> none.

over(Id, Size, #tasks{open = Open, lanes = Lanes, bytes = Bytes} = Tasks) ->
    {#given{lane = Lane, bytes = Body}, Left} = maps:take(Id, Open),
    #{Lane := #lane{given = Given} = Known} = Lanes,
    Fewer = learned(Size, Known#lane{given = Given - 1}),
    Tasks#tasks{open = Left, lanes = kept(Lane, Fewer, Lanes), bytes = Bytes - Body}.

learned(none, Known) ->
    Known;
learned(Size, #lane{window = Window, average = Average} = Known) ->
    Known#lane{window = min(?MOST_WINDOW, Window + 1), average = max(Size, Average - Average div 8 + Size div 8)}.

%% Workers come and go, and so may pools; what was learned of one is kept while it has tasks, and of a pool that is there.
kept(Lane, #lane{given = 0} = Known, Lanes) ->
    case gb_sets:is_empty(Known#lane.waiting) andalso (is_pid(Lane) orelse element(1, py_registry:pool(Lane)) =:= error) of
        true -> maps:remove(Lane, Lanes);
        false -> Lanes#{Lane => Known}
    end;
kept(Lane, Known, Lanes) ->
    Lanes#{Lane => Known}.

%% @doc Nobody wants it any more; `error' where it is not open.
-spec cancel(py_gateway_wire:id(), tasks()) -> {ok, tasks()} | error.
cancel(Id, #tasks{open = Open, pending = Pending} = Tasks) ->
    case Open of
        #{Id := #waits{}} -> {ok, taken(Id, Tasks)};
        #{Id := #given{}} -> {ok, over(Id, none, Tasks#tasks{pending = py_pending:cancel(Id, Pending)})};
        #{} -> error
    end.

%% @doc Take it back, if nobody has begun it.
-spec drop(py_gateway_wire:id(), tasks()) -> {dropped, tasks()} | begun | error.
drop(Id, #tasks{open = Open} = Tasks) ->
    case Open of
        #{Id := #waits{}} -> {dropped, taken(Id, Tasks)};
        #{Id := #given{}} -> begun;
        #{} -> error
    end.

%% @doc The connection is over.
-spec close(tasks()) -> ok.
close(#tasks{open = Open, pending = Pending}) ->
    _ = maps:fold(fun(Id, #given{}, Acc) -> py_pending:cancel(Id, Acc); (_, _, Acc) -> Acc end, Pending, Open),
    ok.
