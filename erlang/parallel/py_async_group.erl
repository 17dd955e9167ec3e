%%% @doc A process that makes calls for its owner and keeps their results until the owner wants them: nothing is ever sent to the
%%% owner that the owner does not wait for.
%%%
%%% Calls that are started together have a group of their own, which starts them in order, no more at a time than its window
%%% allows. Those that are started one by one have one group for each owner, which is joined as long as it has any.
%%%
%%% ```
%%%   owner --spawns, {add, ..}--> group --{py_call, ..}--> worker                       see `py_pending'
%%%   owner --{await, [Index], Alias}--> group
%%%   owner <--{Alias, {Group, Index}, Result}-- group                                   as soon as there is one
%%%   owner --{kept, [Index]}--> group                                                   which forgets it
%%%   owner --{drop, [Index]}--> group                                                   and its result
%%%   anyone --{cancel, [Index]}--> group
%%% '''
%%%
%%% A call that is more than one on a worker of this node (see {@link py_route:encoded/3}) has a process, the runner, which is linked to the
%%% group and keeps the result.
%%%
%%% The group ends when each of its calls has been taken or cancelled, and when its owner does. It is the keeper (see
%%% {@link py_owners}) of what results have in shared memory: it hands that on when the owner has the result and keeps it.
%%% @private
-module(py_async_group).

-export([start/2, one/2, one/3]).
-export_type([call/0, result/0, state/0]).

-type call() :: {Args :: [term()], py_call_options:options()}.
%% Of the wrapper `call', checked.
-type result() :: {ok, term()} | {error, term()} | {frame, binary(), py_send:trust(), py_pending:origin()}.
-type state() :: {atomics:atomics_ref(), Index :: pos_integer()}.
%% `py_async' has the values.
-type work() ::
    {call, [term()], py_call_options:options()}
    | {bytes, py_wire:body(), py_route:route(), py_call_options:options(), over()}
    | {runner, [term()], py_call_options:options()}.
-type over() :: none | fun(({ok, term()} | {error, term()}) -> ok).
%% `call' is still to be looked at. `over' tells those who listen to events.

-record(sent, {
    body :: py_wire:body(),
    options :: py_call_options:options(),
    deadline :: py_deadline:deadline(),
    over :: over(),
    state :: state()
}).
-record(group, {
    owner :: pid(),
    monitor :: reference(),
    %% How many calls have been added so far, as the owner knows it too: with -1 no more can be.
    added = none :: none | atomics:atomics_ref(),
    joined = 0 :: non_neg_integer(),
    next = 1 :: pos_integer(),
    last = 0 :: non_neg_integer(),
    running = 0 :: non_neg_integer(),
    window = infinity :: pos_integer() | infinity,
    %% Those that are neither taken nor cancelled; `lost' where a runner was ended by somebody else.
    slots = #{} :: #{
        Index :: pos_integer() =>
            {waiting, work(), py_deadline:deadline(), state()}
            | #sent{}
            | {runs | held, Runner :: pid(), state()}
            | {done, result(), state()}
            | lost
    },
    runners = #{} :: #{pid() => Index :: pos_integer()},
    asked = #{} :: #{Index :: pos_integer() => {await | give, Alias :: reference()}},
    pending = py_pending:new() :: py_pending:pending()
}).

%% In the dictionary of an owner: its group of calls that were started one by one.
-define(GROUP, '$py_async').
-define(CLOSED, -1).
-define(OPEN, 0).
-define(TAKEN, 1).
-define(CANCELLED, 2).
-define(DONE, 3).

%% @doc A group of these calls, `Window' of them at a time, for the calling process. A call's timeout begins now.
-spec start([{call(), state()}], Window :: pos_integer() | infinity) -> pid().
start(Calls, Window) ->
    Owner = self(),
    Now = erlang:monotonic_time(millisecond),
    Trace = py_trace:headers(),
    spawn(fun() ->
        ok = py_trace:within(Trace),
        Slots = [
            {Index, {waiting, {call, Args, Options}, deadline(Now, Options), State}}
         || {Index, {{Args, Options}, State}} <- lists:zip(lists:seq(1, length(Calls)), Calls)
        ],
        init(Owner, #{slots => maps:from_list(Slots), last => length(Calls), window => Window})
    end).

%% @doc One call more for the calling process, in the group that it has for such.
-spec one(call(), state()) -> {Group :: pid(), Index :: pos_integer()}.
one(Call, State) ->
    {Group, Index} = place(),
    Group ! {add, Index, work(Call), State, none},
    {Group, Index}.

%% @doc The same, and the result comes to the calling process with the reference, the monitor of the group.
-spec one(call(), state(), give) -> {Group :: pid(), Index :: pos_integer(), Alias :: reference()}.
one(Call, State, give) ->
    {Group, Index} = place(),
    Alias = monitor(process, Group, [{alias, reply_demonitor}]),
    Group ! {add, Index, work(Call), State, {give, Alias}},
    {Group, Index, Alias}.

%% The arguments are encoded here, so they need not be copied.
work({Args, Options}) ->
    Now = erlang:monotonic_time(millisecond),
    {encoded(Args, Options), deadline(Now, Options)}.

%% The owner counts up before it adds, the group closes with the number that it has seen: so none is added to a group that ends.
place() ->
    case get(?GROUP) of
        {Group, Added} ->
            case is_process_alive(Group) andalso atomics:get(Added, 1) of
                Count when is_integer(Count), Count =/= ?CLOSED ->
                    case atomics:compare_exchange(Added, 1, Count, Count + 1) of
                        ok -> {Group, Count + 1};
                        ?CLOSED -> new()
                    end;
                _ ->
                    new()
            end;
        undefined ->
            new()
    end.

new() ->
    Owner = self(),
    Added = atomics:new(1, []),
    atomics:put(Added, 1, 1),
    Group = spawn(fun() -> init(Owner, #{added => Added}) end),
    put(?GROUP, {Group, Added}),
    {Group, 1}.

%% A call that has a timeout of its own keeps the time at which it is over.
deadline(Now, #{timeout := Timeout}) when Timeout =/= infinity -> Now + Timeout;
deadline(_Now, _Options) -> infinity.

%% The trace is that of the process that asks.
encoded(Args, Options) ->
    {Entry, All} = py_trace:carried(none, {wrapper, call}, Args),
    case py_route:encoded(Entry, All, Options) of
        {ok, Body, Route} ->
            Over =
                case py_events:is_on() of
                    true -> py_route:observed({wrapper, call}, Args, Options);
                    false -> none
                end,
            {bytes, Body, Route, Options, Over};
        terms ->
            {runner, All, Options}
    end.

%%% The process

init(Owner, Fields) ->
    process_flag(trap_exit, true),
    serve(#group{
        owner = Owner,
        monitor = monitor(process, Owner),
        added = maps:get(added, Fields, none),
        slots = maps:get(slots, Fields, #{}),
        last = maps:get(last, Fields, 0),
        window = maps:get(window, Fields, infinity)
    }).

serve(#group{next = Next, last = Last, running = Running, window = Window} = Group) when Next =< Last, Running < Window ->
    serve(started(Next, Group#group{next = Next + 1}));
serve(#group{slots = Slots} = Group) when map_size(Slots) =:= 0 ->
    is_closed(Group) orelse listen(Group);
serve(Group) ->
    listen(Group).

is_closed(#group{added = none}) -> true;
is_closed(#group{added = Added, joined = Joined}) -> Joined > 0 andalso atomics:compare_exchange(Added, 1, Joined, ?CLOSED) =:= ok.

listen(#group{monitor = Monitor, runners = Runners, slots = Slots, asked = Asked} = Group) ->
    receive
        {add, Index, {Work, Deadline}, State, Ask} ->
            More = Group#group{
                joined = Index,
                last = Index,
                slots = Slots#{Index => {waiting, Work, Deadline, State}},
                asked = case Ask of none -> Asked; _ -> Asked#{Index => Ask} end
            },
            serve(More);
        {await, Indices, Alias} ->
            serve(lists:foldl(fun(Index, Acc) -> asked(Index, {await, Alias}, Acc) end, Group, Indices));
        {cancel, Indices} ->
            serve(lists:foldl(fun cancelled/2, Group, [Index || Index <- Indices, not is_given(Index, Group)]));
        {drop, Indices} ->
            serve(lists:foldl(fun cancelled/2, Group, Indices));
        {kept, Indices} ->
            serve(lists:foldl(fun kept/2, Group, Indices));
        {done, Index, Runner} when is_map_key(Runner, Runners) ->
            serve(held(Index, Runner, Group));
        {'EXIT', Runner, Reason} when is_map_key(Runner, Runners) ->
            serve(ended(map_get(Runner, Runners), Reason, Group));
        {'DOWN', Monitor, process, _, _} ->
            %% The runners are linked, and the workers watch.
            exit(shutdown);
        Message ->
            serve(told(py_pending:message(Message, Group#group.pending), Group))
    end.

told({answer, Index, Answer, Pending}, Group) -> answered(Index, Answer, Group#group{pending = Pending});
told({wait, Pending}, Group) -> Group#group{pending = Pending};
%% The last words of a call or a runner that was cancelled.
told(unknown, Group) -> Group.

%%% A call's beginning

started(Index, #group{slots = Slots} = Group) ->
    case Slots of
        #{Index := {waiting, Work, Deadline, State}} -> begun(Work, Index, Deadline, State, Group);
        #{} -> Group
    end.

begun({call, Args, Options}, Index, Deadline, State, Group) ->
    begun(encoded(Args, Options), Index, Deadline, State, Group);
begun({bytes, Body, Route, Options, Over}, Index, Deadline, State, Group) ->
    #group{owner = Owner, pending = Pending, slots = Slots, running = Running} = Group,
    Sent = #sent{body = Body, options = Options, deadline = Deadline, over = Over, state = State},
    Begun = Group#group{slots = Slots#{Index := Sent}, running = Running + 1},
    case py_pending:send(Index, Body, py_deadline:timed(Route, Deadline), {Owner, self()}, Pending) of
        {ok, More} -> Begun#group{pending = More};
        {error, _} = Error -> answered(Index, Error, Begun)
    end;
begun({runner, Args, Options}, Index, Deadline, State, #group{owner = Owner} = Group) ->
    Perform = fun() -> py_route:perform({wrapper, call}, Args, py_deadline:timed(Options, Deadline), {Owner, self()}) end,
    run(Perform, Index, State, Group#group{running = Group#group.running + 1}).

run(Perform, Index, State, #group{slots = Slots, runners = Runners, asked = Asked} = Group) ->
    Self = self(),
    Runner = spawn_link(fun() -> runner(Self, Index, Perform) end),
    _ = [Runner ! {give, Alias} || {_, Alias} <- alias_of(Index, Asked)],
    Group#group{slots = Slots#{Index := {runs, Runner, State}}, runners = Runners#{Runner => Index}}.

runner(Group, Index, Perform) ->
    Result = Perform(),
    Group ! {done, Index, self()},
    receive
        {give, Alias} -> Alias ! {Alias, {Group, Index}, Result}
    end,
    given(Group, Index, Result).

%% Whoever has asked may have given up since, and ask again.
given(Group, Index, Result) ->
    receive
        {give, Alias} ->
            Alias ! {Alias, {Group, Index}, Result},
            given(Group, Index, Result);
        kept ->
            py_shared_owner:kept()
    end.

%%% A call's end

answered(Index, Answer, #group{slots = Slots, owner = Owner} = Group) ->
    #{Index := #sent{body = Body, options = Options, deadline = Deadline, over = Over, state = State}} = Slots,
    Mended = fun(Error, For) ->
        py_route:mended(Error, {wrapper, call}, py_send:arguments(Body), Options, Deadline, For)
    end,
    case read(Answer) of
        {error, {py, {Where, _}}} = Error when Where =:= elsewhere; Where =:= no_shared_memory ->
            Again = fun() ->
                Result = Mended(Error, {Owner, self()}),
                Over =:= none orelse Over(Result),
                Result
            end,
            run(Again, Index, State, Group);
        {error, {py, {decode, _}}} = Error ->
            done(Index, Mended(Error, Owner), Over, State, Group);
        Result ->
            done(Index, Result, Over, State, Group)
    end.

%% The owner decodes its result; a failure is looked at here.
read({frame, Frame, Trust, {Worker, _}} = Answer) ->
    case py_send:is_failure(Frame) of
        true -> py_send:read(Frame, Trust, Worker);
        false -> Answer
    end;
read({error, _} = Error) ->
    Error.

done(Index, Result, Over, State, #group{slots = Slots, running = Running, asked = Asked} = Group) ->
    Over =:= none orelse Over(case Result of {error, _} -> Result; _ -> {ok, undefined} end),
    marked(Index, ?DONE, Group),
    Done = Group#group{slots = Slots#{Index := {done, Result, State}}, running = Running - 1},
    case Asked of
        #{Index := Ask} -> given(Index, Ask, Result, Done);
        #{} -> Done
    end.

given(Index, {await, Alias}, Result, #group{asked = Asked} = Group) ->
    Alias ! {Alias, {self(), Index}, Result},
    Group#group{asked = maps:remove(Index, Asked)};
%% It is the owner's with the message.
given(Index, {give, Alias}, Result, Group) ->
    hand_on(Result),
    Alias ! {Alias, {self(), Index}, Result},
    forgotten(Index, Group).

held(Index, Runner, #group{slots = Slots, running = Running, asked = Asked} = Group) ->
    #{Index := {runs, Runner, State}} = Slots,
    marked(Index, ?DONE, Group),
    Held = Group#group{slots = Slots#{Index := {held, Runner, State}}, running = Running - 1},
    case Asked of
        #{Index := {give, _}} -> kept(Index, Held);
        #{} -> Held
    end.

asked(Index, {await, Alias} = Ask, #group{slots = Slots, asked = Asked} = Group) ->
    case Slots of
        #{Index := {done, Result, _}} ->
            given(Index, Ask, Result, Group);
        #{Index := {_, Runner, _}} when is_pid(Runner) ->
            Runner ! {give, Alias},
            Group#group{asked = Asked#{Index => Ask}};
        #{Index := lost} ->
            gone(Index, Group#group{asked = Asked#{Index => Ask}});
        #{Index := _} ->
            Group#group{asked = Asked#{Index => Ask}};
        #{} ->
            gone(Index, Group#group{asked = Asked#{Index => Ask}})
    end.

%% Whatever comes for it now is too late.
kept(Index, #group{slots = Slots} = Group) ->
    case Slots of
        #{Index := {done, Result, _}} -> hand_on(Result);
        #{Index := {_, Runner, _}} when is_pid(Runner) -> Runner ! kept;
        #{} -> ok
    end,
    forgotten(Index, Group).

hand_on({frame, Frame, trusted, {_, Call}}) -> py_send:mentions_shared(Frame) andalso py_shared_owner:kept(Call);
hand_on(_Result) -> false.

drop({frame, Frame, trusted, {_, Call}}) -> py_send:mentions_shared(Frame) andalso py_shared_owner:lost(Call);
drop(_Result) -> false.

%% What its owner has, or is about to, is over.
is_given(Index, #group{slots = Slots}) ->
    case Slots of
        #{Index := {done, _, {States, Position}}} -> atomics:get(States, Position) =:= ?TAKEN;
        #{Index := {held, _, {States, Position}}} -> atomics:get(States, Position) =:= ?TAKEN;
        #{} -> false
    end.

cancelled(Index, #group{slots = Slots, pending = Pending, running = Running} = Group) ->
    %% Whoever has cancelled it from another node could not.
    marked(Index, ?CANCELLED, Group),
    case Slots of
        #{Index := #sent{}} ->
            gone(Index, Group#group{pending = py_pending:cancel(Index, Pending), running = Running - 1});
        #{Index := {done, Result, _}} ->
            drop(Result),
            gone(Index, Group);
        #{Index := {Kind, Runner, _}} when is_pid(Runner) ->
            exit(Runner, kill),
            gone(Index, Group#group{running = case Kind of runs -> Running - 1; held -> Running end});
        #{Index := _} ->
            gone(Index, Group);
        #{} ->
            Group
    end.

%% A result was handed over, or somebody has ended the runner.
ended(Index, normal, #group{asked = Asked} = Group) ->
    forgotten(Index, Group#group{asked = maps:remove(Index, Asked)});
ended(Index, _Reason, #group{slots = Slots, running = Running, asked = Asked} = Group) ->
    marked(Index, ?DONE, Group),
    Less =
        case Slots of
            #{Index := {runs, _, _}} -> Group#group{running = Running - 1};
            #{} -> Group
        end,
    #group{slots = Left} = Ended = gone(Index, Less),
    case Asked of
        #{Index := _} -> Ended;
        #{} -> Ended#group{slots = Left#{Index => lost}}
    end.

%% Who looks at the state of a call that nobody has taken need not ask in vain.
marked(Index, As, #group{slots = Slots}) ->
    case Slots of
        #{Index := #sent{state = State}} -> marked(State, As);
        #{Index := {waiting, _, _, State}} -> marked(State, As);
        #{Index := {_, Runner, State}} when is_pid(Runner) -> marked(State, As);
        #{} -> ok
    end.

marked({States, Position}, As) ->
    _ = atomics:compare_exchange(States, Position, ?OPEN, As),
    ok.

%% Whoever waits for it hears that it was cancelled.
gone(Index, #group{asked = Asked} = Group) ->
    _ = [Alias ! {Alias, {self(), Index}, {error, {py, cancelled}}} || {_, Alias} <- alias_of(Index, Asked)],
    forgotten(Index, Group).

forgotten(Index, #group{slots = Slots, runners = Runners, asked = Asked} = Group) ->
    Fewer =
        case Slots of
            #{Index := {_, Runner, _}} when is_pid(Runner) -> maps:remove(Runner, Runners);
            #{} -> Runners
        end,
    Group#group{slots = maps:remove(Index, Slots), runners = Fewer, asked = maps:remove(Index, Asked)}.

%% Where the owner waits for it.
alias_of(Index, Asked) -> maps:values(maps:with([Index], Asked)).
