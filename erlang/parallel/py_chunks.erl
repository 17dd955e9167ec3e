%%% @doc A list, a chunk at a time: what {@link py:pmap/4} and {@link py:preduce/4} have in common.
%%%
%%% The caller's process cuts the list and collects the results. Each chunk is given to a process of its own, which
%%% makes the call; a few chunks for each worker are in hand at the same time, and the next is cut when one is done. So no
%%% more than that is ever encoded, and whoever is fast gets more chunks.
%%%
%%% ```
%%%   caller --spawns--> runner (one for each chunk in hand) --call--> worker
%%%      ^                  | linked to
%%%      `--monitored by-- guard
%%% '''
%%%
%%% The guard ends all runners at once: when the caller has ended, and when the caller ends it. It is the keeper (see
%%% {@link py_owners}) of what the results have in shared memory: it hands that on when the caller has them all.
%%% @private
-module(py_chunks).

-export([run/3, attempt/4]).
-export_type([job/0]).

-type job() :: #{
    args := fun(([term()]) -> [term()]),
    each := whole | values | outcomes,
    item_timeout := timeout(),
    fold := none | {fun((Item :: term(), term(), Acc) -> Acc), Acc :: term()},
    size := py_chunk_size:size(),
    window := pos_integer(),
    options := py_call_options:options(),
    retry := non_neg_integer(),
    deadline := py_deadline:deadline(),
    progress := py_progress:progress()
}.
%% `args' makes the arguments of a chunk's call of the wrapper `call'; `each': its result has one for each item, a
%% value or an outcome; `item_timeout': of a chunk of one item; `fold': what is made of each result when it comes; `deadline' is in milliseconds of the monotonic
%% clock.

%% A chunk that has run longer has not.
-define(MOST_RAN_US, (1 bsl 50)).

%% @doc The chunks' results with the position of each chunk's first item, in the order in which they came; or the first
%% error, which says which item or items it is of.
-spec run([term()], Total :: non_neg_integer(), job()) -> {ok, [{Start :: pos_integer(), term()}] | Acc :: term()} | {error, term()}.
run(Items, Total, #{size := Size, progress := Progress, fold := Fold} = Job) ->
    Caller = self(),
    Alias = alias(),
    {Guard, Monitor} = spawn_monitor(fun() -> guard(Caller) end),
    State = #{
        items => Items, left => Total, total => Total, done => 0, in_hand => 0, size => Size, progress => Progress, chunks => #{},
        results => case Fold of none -> []; {_, Acc} -> Acc end
    },
    try loop(State, Job, {Alias, Guard, Monitor}) of
        {ok, _} = Results ->
            Guard ! kept,
            Results;
        {error, _} = Error ->
            exit(Guard, kill),
            Error
    catch
        Class:Reason:Stack ->
            exit(Guard, kill),
            erlang:raise(Class, Reason, Stack)
    after
        %% From here on nothing can arrive.
        unalias(Alias),
        demonitor(Monitor, [flush]),
        flush(Alias)
    end.

guard(Caller) ->
    Monitor = monitor(process, Caller),
    receive
        %% The runners are linked.
        {'DOWN', Monitor, process, Caller, _} -> exit(self(), shutdown);
        kept -> py_shared_owner:kept()
    end.

flush(Alias) ->
    receive
        {Alias, _, _, _} -> flush(Alias)
    after 0 -> ok
    end.

loop(#{left := 0, in_hand := 0, results := Results, total := Total, progress := Progress}, #{fold := Fold}, _Processes) ->
    py_progress:finish(Total, Progress),
    {ok, case Fold of none -> lists:reverse(Results); _ -> Results end};
loop(#{left := Left, in_hand := InHand} = State, #{window := Window} = Job, Processes) when Left > 0, InHand < Window ->
    loop(started(State, Job, Processes), Job, Processes);
loop(#{done := Done, progress := Progress} = State, Job, {Alias, Guard, Monitor} = Processes) ->
    receive
        {Alias, Start, Count, {ok, Value, {RanUs, BackUs}, Bytes}} ->
            loop(told(finished(Start, Count, Value, {RanUs, BackUs}, Bytes, State, Job)), Job, Processes);
        {Alias, Start, Count, {error, Error}} ->
            py_progress:finish(Done, Progress),
            {error, located(Error, Start, Count)};
        {'DOWN', Monitor, process, Guard, _} ->
            py_progress:finish(Done, Progress),
            {error, {py, cancelled}}
    after py_progress:wait_ms(Progress) ->
        loop(told(State), Job, Processes)
    end.

told(#{done := Done, progress := Progress} = State) -> State#{progress := py_progress:tell(Done, Progress)}.

started(State, #{window := Window, fold := Fold} = Job, {Alias, Guard, _}) ->
    #{items := Items, left := Left, size := Size, in_hand := InHand, total := Total, chunks := Chunks} = State,
    {Count, Chunk, Rest} = py_chunk_size:cut(Size, py_chunk_size:next(Size, Left, Window), Items),
    Start = Total - Left + 1,
    Owner = {self(), Guard},
    _ = spawn(fun() ->
        linked(Guard) andalso (Alias ! {Alias, Start, Count, result(Chunk, Start, Job, Owner)})
    end),
    Kept = case Fold of none -> Chunks; _ -> Chunks#{Start => Chunk} end,
    State#{items := Rest, left := Left - Count, in_hand := InHand + 1, chunks := Kept}.

%% All may be over before it has begun.
linked(Guard) ->
    try
        link(Guard)
    catch
        error:noproc -> false
    end.

finished(Start, Count, Value, {RanUs, BackUs}, Bytes, State, #{fold := Fold}) ->
    #{size := Size, done := Done, in_hand := InHand, chunks := Chunks} = State,
    State#{
        size := py_chunk_size:measured(Count, RanUs, BackUs, Bytes, Size),
        in_hand := InHand - 1,
        done := Done + Count,
        chunks := maps:remove(Start, Chunks),
        results := added(Start, Value, Fold, State)
    }.

added(Start, Value, none, #{results := Results}) -> [{Start, Value} | Results];
added(Start, Values, {Fun, _}, #{results := Acc, chunks := Chunks}) ->
    lists:foldl(fun({Item, Value}, Before) -> Fun(Item, Value, Before) end, Acc, lists:zip(map_get(Start, Chunks), Values)).

%%% A runner

result(Chunk, First, #{args := Args, each := Each} = Job, Owner) ->
    Start = erlang:monotonic_time(microsecond),
    case tried(Args(Chunk), Job, Owner) of
        {ok, {RanUs, Value}} when
            is_integer(RanUs), RanUs >= 0, RanUs < ?MOST_RAN_US, Each =:= whole orelse length(Value) =:= length(Chunk)
        ->
            measured(Each, Chunk, Value, RanUs, Start);
        %% A sandboxed Python answers with what it likes.
        {ok, _} ->
            failed(Chunk, First, {py, {protocol, unreadable_answer}}, Job, Owner);
        {error, Error} ->
            failed(Chunk, First, Error, Job, Owner)
    end.

measured(outcomes, Chunk, Value, RanUs, Start) ->
    measured(values, Chunk, [outcome(Each) || Each <- Value], RanUs, Start);
measured(_Each, Chunk, Value, RanUs, Start) ->
    Bytes = erlang:external_size(Chunk) + erlang:external_size(Value),
    {ok, Value, {RanUs, erlang:monotonic_time(microsecond) - Start}, Bytes}.

outcome({ok, _} = Outcome) -> Outcome;
outcome({error, Error}) -> {error, py_exception:from_python(Error)};
outcome(_) -> {error, {py, {protocol, unreadable_answer}}}.

%% A chunk that failed as a whole: where each item has an outcome, that of each. What has not run, and what may run again, is tried item by
%% item, so that one costs no other.
failed(Chunk, First, Error, #{each := outcomes} = Job, Owner) ->
    case is_over(Error) of
        true ->
            {error, Error};
        false ->
            Start = erlang:monotonic_time(microsecond),
            Values =
                case length(Chunk) > 1 andalso may_run_again(Error, Job) of
                    true -> lists:append([alone(Item, Position, Job, Owner) || {Position, Item} <- numbered(Chunk, First)]);
                    false -> [{error, located(Error, Position, 1)} || {Position, _} <- numbered(Chunk, First)]
                end,
            measured(values, Chunk, Values, erlang:monotonic_time(microsecond) - Start, Start)
    end;
failed(_Chunk, _First, Error, _Job, _Owner) ->
    {error, Error}.

alone(Item, Position, Job, Owner) ->
    case result([Item], Position, Job, Owner) of
        {ok, Values, _, _} -> Values;
        {error, Error} -> [{error, Error}]
    end.

numbered(Chunk, First) -> lists:zip(lists:seq(First, First + length(Chunk) - 1), Chunk).

%% No item can have a better outcome.
is_over({py, not_started}) -> true;
is_over({py, cancelled}) -> true;
is_over({py, {unknown_pool, _}}) -> true;
is_over(_) -> false.

%% The arguments are read before anything runs.
may_run_again({py, {decode, _}}, _Job) -> true;
may_run_again({py, timeout}, _Job) -> false;
may_run_again({py, _}, #{retry := Retry}) -> Retry > 0;
may_run_again(_, _Job) -> false.

tried(Args, #{options := Options, item_timeout := infinity} = Job, Owner) ->
    attempt(Args, Options, Job, Owner);
tried(Args, #{options := Options, item_timeout := Timeout, deadline := Deadline} = Job, Owner) ->
    attempt(Args, Options, Job#{deadline := py_deadline:after_ms(min(Timeout, py_deadline:left_ms(Deadline)))}, Owner).

%% @doc One call, within the job's deadline and with its retries. What it leaves in Python belongs to `Owner'.
-spec attempt([term()], py_call_options:options(), job(), py_owners:owner()) -> {ok, term()} | {error, term()}.
attempt(Args, Options, #{retry := Most, deadline := Deadline}, Owner) -> attempt(Args, Options, Deadline, Owner, 0, Most).

attempt(Args, Options, Deadline, Owner, Retries, Most) ->
    case py_route:perform({wrapper, call}, Args, py_deadline:timed(Options, Deadline), Owner) of
        {ok, Value} ->
            {ok, Value};
        {error, Error} ->
            case py_chunk_size:again(Error, Retries, Most) of
                {again, Ms} ->
                    receive after min(Ms, py_deadline:left_ms(Deadline)) -> ok end,
                    attempt(Args, Options, Deadline, Owner, Retries + 1, Most);
                give_up ->
                    {error, Error}
            end
    end.

%%% Errors

%% Python counts the items of a chunk from 0.
located({python, Class, Text, Trace}, Start, _Count) when length(Trace) >= 0 ->
    {python, Class, Text, [located_frame(Frame, Start) || Frame <- Trace]};
located({py, {Kind, Text}}, Start, Count) when length(Text) >= 0, Kind =:= encode orelse Kind =:= decode ->
    {py, {Kind, Text ++ lists:flatten(items(Start, Count))}};
located(Error, _Start, _Count) ->
    Error.

located_frame({item, Index}, Start) when is_integer(Index) -> {item, Start + Index};
located_frame(Frame, _Start) -> Frame.

items(Start, 1) -> io_lib:format(" (item ~w of the list)", [Start]);
items(Start, Count) -> io_lib:format(" (one of the items ~w to ~w of the list)", [Start, Start + Count - 1]).
