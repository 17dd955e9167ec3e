%%% @doc The tasks of one driver: those that wait, and those that were given to workers. A value of the connection's process.
%%%
%%% A task that any worker of its pool may run waits in the pool's dispatcher, beside those of other drivers, and is held there while the
%%% driver does not read. One that is bound to a worker (it names one, or holds references) waits here, in a lane for each worker: how
%%% many of a lane are given depends on how large its last answers were, since all of them may come while the driver does not
%%% read. See "A connection" in docs/architecture.md.
%%% @private
-module(py_gateway_tasks).

-export([new/0, submit/4, send/4, flush/1, pace/2, message/2, cancel/2, drop/2, is_open/2, count/1, body_bytes/1, close/1]).
-export_type([tasks/0]).

-record(lane, {
    given = 0 :: non_neg_integer(),
    %% How many may be given as far as is known: it grows with each answer.
    window = 4 :: pos_integer(),
    %% Of an answer, in bytes.
    average = 0 :: non_neg_integer(),
    waiting = gb_sets:new() :: gb_sets:set({Turn :: pos_integer(), py_gateway_wire:id()})
}).
-record(waits, {
    lane :: pid(),
    turn :: pos_integer(),
    body :: binary(),
    route :: py_route:route(),
    deadline :: py_deadline:deadline(),
    timer :: reference() | none
}).
-record(given, {lane :: pid() | none, bytes :: non_neg_integer()}).
-record(tasks, {
    given = py_dispatcher:new() :: py_dispatcher:tasks(),
    open = #{} :: #{py_gateway_wire:id() => #waits{} | #given{}},
    lanes = #{} :: #{Worker :: pid() => #lane{}},
    %% The route that was given last, and what was made of it.
    last = none :: none | {Given :: map(), py_route:route()},
    held = false :: boolean(),
    turn = 1 :: pos_integer(),
    bytes = 0 :: non_neg_integer()
}).
-opaque tasks() :: #tasks{}.

-define(ANSWER_BYTES, 8_388_608).
-define(LEAST_GIVEN, 2).
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

%% @doc A new task; its deadline begins now. It may wait for {@link flush/1}.
-spec submit(py_gateway_wire:id(), map(), binary(), tasks()) -> {ok, tasks()} | {error, term()}.
submit(Id, Given, Body, Tasks) ->
    case py_gateway_wire:is_body(Body) andalso checked(Given, Tasks) of
        false ->
            {error, {link, "the body of a call is a module, a function and a list of arguments, encoded one after the other"}};
        {ok, Route} -> send(Id, Route, Body, Tasks#tasks{last = {Given, Route}});
        {error, _} = Error -> Error
    end.

%% @doc The same with a route and a body that nobody else has made.
-spec send(py_gateway_wire:id(), py_route:route(), binary(), tasks()) -> {ok, tasks()} | {error, term()}.
send(Id, Route, Body, Tasks) ->
    case py_route:is_free(Route) of
        true -> queued(Id, Body, Route, Tasks);
        false -> bound(Id, Body, Route, Tasks)
    end.

%% @doc Have those that wait for others be on their way: before anything else is said of them, and before another message is waited for.
-spec flush(tasks()) -> tasks().
flush(#tasks{given = Given} = Tasks) -> Tasks#tasks{given = py_dispatcher:flush(Given)}.

queued(Id, Body, Route, #tasks{given = Given} = Tasks) ->
    case py_dispatcher:queue(Id, [Body], Route, Given) of
        {ok, Next} -> {ok, opened(Id, Body, none, Tasks#tasks{given = Next})};
        {error, {py, Reason}} -> {error, Reason}
    end.

opened(Id, Body, Lane, #tasks{open = Open, bytes = Bytes} = Tasks) ->
    Size = byte_size(Body),
    Tasks#tasks{open = Open#{Id => #given{lane = Lane, bytes = Size}}, bytes = Bytes + Size}.

checked(Given, #tasks{last = {Given, Route}}) -> {ok, Route};
checked(Given, _Tasks) -> checked(Given).

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

bound(Id, Body, Route, #tasks{held = Held} = Tasks) ->
    case lane(Route) of
        {ok, Lane, Default} ->
            Deadline = py_deadline:after_ms(maps:get(timeout, Route, Default)),
            #lane{waiting = Waiting} = Known = known(Lane, Tasks),
            case not Held andalso gb_sets:is_empty(Waiting) andalso has_room(Known) of
                true -> given(Id, Body, py_deadline:timed(Route, Deadline), Lane, Tasks);
                false -> {ok, waiting(Id, Body, Route, Deadline, Lane, Tasks)}
            end;
        %% What is wrong with it is told when it is given.
        error ->
            given(Id, Body, Route, none, Tasks)
    end.

lane(#{worker := Worker}) -> lane_of(Worker);
lane(#{refs := [Worker | _]}) -> lane_of(Worker);
lane(_) -> error.

lane_of(Worker) ->
    case py_registry:place(Worker) of
        {ok, {Name, _Slot}} ->
            case py_registry:pool(Name) of
                {ok, #{timeout := Timeout}} -> {ok, Worker, Timeout};
                {error, _} -> error
            end;
        error ->
            error
    end.

known(Lane, #tasks{lanes = Lanes}) -> maps:get(Lane, Lanes, #lane{}).

has_room(#lane{given = Given, window = Window, average = Average}) ->
    Given < max(?LEAST_GIVEN, min(Window, ?ANSWER_BYTES div max(1, Average))).

given(Id, Body, Route, Lane, #tasks{given = Given} = Tasks) ->
    case py_dispatcher:send(Id, [Body], Route, self(), Given) of
        {ok, Sent} ->
            {ok, counted(Lane, 1, none, opened(Id, Body, Lane, Tasks#tasks{given = Sent}))};
        {error, {py, Reason}} ->
            {error, Reason}
    end.

%% So many more of a lane are given, and an answer of that size has come.
counted(none, _More, _Size, Tasks) ->
    Tasks;
counted(Lane, More, Size, #tasks{lanes = Lanes} = Tasks) ->
    #lane{given = Given} = Known = known(Lane, Tasks),
    case learned(Size, Known#lane{given = Given + More}) of
        #lane{given = 0, waiting = Waiting} = Next ->
            case gb_sets:is_empty(Waiting) of
                true -> Tasks#tasks{lanes = maps:remove(Lane, Lanes)};
                false -> Tasks#tasks{lanes = Lanes#{Lane => Next}}
            end;
        Next ->
            Tasks#tasks{lanes = Lanes#{Lane => Next}}
    end.

learned(none, Known) ->
    Known;
learned(Size, #lane{window = Window, average = Average} = Known) ->
    Known#lane{window = min(?MOST_WINDOW, Window + 1), average = max(Size, Average - Average div 8 + Size div 8)}.

waiting(Id, Body, Route, Deadline, Lane, #tasks{turn = Turn, open = Open, lanes = Lanes} = Tasks) ->
    Waits = #waits{lane = Lane, turn = Turn, body = Body, route = Route, deadline = Deadline, timer = timer(Id, Deadline)},
    #lane{waiting = Waiting} = Known = known(Lane, Tasks),
    Tasks#tasks{
        turn = Turn + 1,
        open = Open#{Id => Waits},
        lanes = Lanes#{Lane => Known#lane{waiting = gb_sets:add_element({Turn, Id}, Waiting)}},
        bytes = Tasks#tasks.bytes + byte_size(Body)
    }.

timer(_Id, infinity) -> none;
timer(Id, Deadline) -> erlang:start_timer(Deadline, self(), {?MODULE, Id}, [{abs, true}]).

%% @doc Whether tasks may be given to workers. If so, as many of those that wait here are as there is room for; those that can't be any
%% more come back with their reasons.
-spec pace(MayGive :: boolean(), tasks()) -> {[{py_gateway_wire:id(), Reason :: term()}], tasks()}.
pace(true, #tasks{held = false, lanes = Lanes} = Tasks) when map_size(Lanes) =:= 0 ->
    {[], Tasks};
pace(true, #tasks{lanes = Lanes, given = Given} = Tasks) ->
    lists:foldl(fun next/2, {[], Tasks#tasks{held = false, given = py_dispatcher:go_on(Given)}}, maps:keys(Lanes));
pace(false, #tasks{held = true} = Tasks) ->
    {[], Tasks};
pace(false, #tasks{given = Given} = Tasks) ->
    {[], Tasks#tasks{held = true, given = py_dispatcher:hold(Given)}}.

next(Lane, {Failed, #tasks{open = Open} = Tasks}) ->
    #lane{waiting = Waiting} = Known = known(Lane, Tasks),
    case not gb_sets:is_empty(Waiting) andalso has_room(Known) of
        true ->
            {{_Turn, Id}, _} = gb_sets:take_smallest(Waiting),
            #{Id := #waits{body = Body, route = Route, deadline = Deadline}} = Open,
            Taken = taken(Id, Tasks),
            case given(Id, Body, py_deadline:timed(Route, Deadline), Lane, Taken) of
                {ok, Next} -> next(Lane, {Failed, Next});
                {error, Reason} -> next(Lane, {[{Id, Reason} | Failed], Taken})
            end;
        false ->
            {Failed, Tasks}
    end.

%% One that waited does not any more.
taken(Id, #tasks{open = Open, lanes = Lanes, bytes = Bytes} = Tasks) ->
    {#waits{lane = Lane, turn = Turn, body = Body, timer = Timer}, Left} = maps:take(Id, Open),
    Timer =:= none orelse erlang:cancel_timer(Timer, ?DROPPED),
    #lane{waiting = Waiting} = Known = known(Lane, Tasks),
    Fewer = Tasks#tasks{
        open = Left,
        lanes = Lanes#{Lane => Known#lane{waiting = gb_sets:del_element({Turn, Id}, Waiting)}},
        bytes = Bytes - byte_size(Body)
    },
    counted(Lane, 0, none, Fewer).

%% @doc What a message to the connection says of its tasks.
-spec message(term(), tasks()) ->
    {answer, py_gateway_wire:id(), py_pending:answer(), tasks()}
    | {dropped | begun, py_gateway_wire:id(), tasks()}
    | {wait, tasks()}
    | unknown.
message({timeout, Timer, {?MODULE, Id}}, #tasks{open = Open} = Tasks) ->
    case Open of
        #{Id := #waits{timer = Timer}} -> {answer, Id, {error, {py, timeout}}, taken(Id, Tasks)};
        #{} -> {wait, Tasks}
    end;
message(Message, #tasks{given = Given} = Tasks) ->
    case py_dispatcher:message(Message, Given) of
        {answer, Id, Answer, Next} -> {answer, Id, Answer, over(Id, size_of(Answer), Tasks#tasks{given = Next})};
        {dropped, Id, Next} -> {dropped, Id, over(Id, none, Tasks#tasks{given = Next})};
        {begun, Id, Next} -> {begun, Id, Tasks#tasks{given = Next}};
        {wait, Next} -> {wait, Tasks#tasks{given = Next}};
        unknown -> unknown
    end.

size_of({frame, Frame, _, _}) -> byte_size(Frame);
size_of({error, _}) -> none.

over(Id, Size, #tasks{open = Open, bytes = Bytes} = Tasks) ->
    {#given{lane = Lane, bytes = Body}, Left} = maps:take(Id, Open),
    counted(Lane, -1, Size, Tasks#tasks{open = Left, bytes = Bytes - Body}).

%% @doc Nobody wants it any more; `error' where it is not open.
-spec cancel(py_gateway_wire:id(), tasks()) -> {ok, tasks()} | error.
cancel(Id, #tasks{open = Open, given = Given} = Tasks) ->
    case Open of
        #{Id := #waits{}} -> {ok, taken(Id, Tasks)};
        #{Id := #given{}} -> {ok, over(Id, none, Tasks#tasks{given = py_dispatcher:cancel(Id, Given)})};
        #{} -> error
    end.

%% @doc Take it back, if nobody has begun it. `asked': that is a message.
-spec drop(py_gateway_wire:id(), tasks()) -> {dropped, tasks()} | asked | begun | error.
drop(Id, #tasks{open = Open, given = Given} = Tasks) ->
    case Open of
        #{Id := #waits{}} -> {dropped, taken(Id, Tasks)};
        #{Id := #given{}} -> py_dispatcher:drop(Id, Given);
        #{} -> error
    end.

%% @doc The connection is over.
-spec close(tasks()) -> ok.
close(#tasks{given = Given}) -> py_dispatcher:close(Given).
