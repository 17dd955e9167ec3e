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
    each := boolean(),
    size := py_chunk_size:size(),
    window := pos_integer(),
    options := py_call_options:options(),
    retry := non_neg_integer(),
    deadline := py_deadline:deadline(),
    progress := py_progress:progress()
}.
%% `args' makes the arguments of a chunk's call of the wrapper `call'; `each': its result has one for each item; `deadline' is in milliseconds of the monotonic
%% clock.

%% A chunk that has run longer has not.
-define(MOST_RAN_US, (1 bsl 50)).

%% @doc The chunks' results with the position of each chunk's first item, in the order in which they came; or the first
%% error, which says which item or items it is of.
-spec run([term()], Total :: non_neg_integer(), job()) -> {ok, [{Start :: pos_integer(), term()}]} | {error, term()}.
run(Items, Total, #{size := Size, progress := Progress} = Job) ->
    Caller = self(),
    Alias = alias(),
    {Guard, Monitor} = spawn_monitor(fun() -> guard(Caller) end),
    State = #{
        items => Items, left => Total, total => Total, done => 0, in_hand => 0, size => Size, results => [], progress => Progress
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

loop(#{left := 0, in_hand := 0, results := Results, total := Total, progress := Progress}, _Job, _Processes) ->
    py_progress:finish(Total, Progress),
    {ok, lists:reverse(Results)};
loop(#{left := Left, in_hand := InHand} = State, #{window := Window} = Job, Processes) when Left > 0, InHand < Window ->
    loop(started(State, Job, Processes), Job, Processes);
loop(#{done := Done, progress := Progress} = State, Job, {Alias, Guard, Monitor} = Processes) ->
    receive
        {Alias, Start, Count, {ok, Value, {RanUs, BackUs}, Bytes}} ->
            loop(told(finished(Start, Count, Value, {RanUs, BackUs}, Bytes, State)), Job, Processes);
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

started(State, #{window := Window} = Job, {Alias, Guard, _}) ->
    #{items := Items, left := Left, size := Size, in_hand := InHand, total := Total} = State,
    {Count, Chunk, Rest} = py_chunk_size:cut(Size, py_chunk_size:next(Size, Left, Window), Items),
    Start = Total - Left + 1,
    Owner = {self(), Guard},
    _ = spawn(fun() ->
        linked(Guard) andalso (Alias ! {Alias, Start, Count, result(Chunk, Job, Owner)})
    end),
    State#{items := Rest, left := Left - Count, in_hand := InHand + 1}.

%% All may be over before it has begun.
linked(Guard) ->
    try
        link(Guard)
    catch
        error:noproc -> false
    end.

finished(Start, Count, Value, {RanUs, BackUs}, Bytes, State) ->
    #{size := Size, done := Done, in_hand := InHand, results := Results} = State,
    State#{
        size := py_chunk_size:measured(Count, RanUs, BackUs, Bytes, Size),
        in_hand := InHand - 1,
        done := Done + Count,
        results := [{Start, Value} | Results]
    }.

%%% A runner

result(Chunk, #{args := Args, options := Options, each := Each} = Job, Owner) ->
    Start = erlang:monotonic_time(microsecond),
    case attempt(Args(Chunk), Options, Job, Owner) of
        {ok, {RanUs, Value}} when
            is_integer(RanUs), RanUs >= 0, RanUs < ?MOST_RAN_US, (not Each) orelse length(Value) =:= length(Chunk)
        ->
            Bytes = erlang:external_size(Chunk) + erlang:external_size(Value),
            {ok, Value, {RanUs, erlang:monotonic_time(microsecond) - Start}, Bytes};
        %% A sandboxed Python answers with what it likes.
        {ok, _} ->
            {error, {py, {protocol, unreadable_answer}}};
        {error, Error} ->
            {error, Error}
    end.

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
