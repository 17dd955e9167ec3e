%%% @doc How calls of a worker have gone: counters and two histograms in an `atomics' array, always on.
%%%
%%% The array belongs to a slot of a pool and outlives its workers. Its size does not depend on what is called. The histograms are
%%% log-linear: up to 15 microseconds each number has a place, above that eight for each power of two, so what is read
%%% out is at most an eighth too high.
%%% @private
-module(py_figures).

-export([new/0, count/3, waited/2, ran/3, sum/1, histograms/1, latency/1, cumulative/1]).
-export_type([figures/0, kind/0, sum/0, latency/0, histogram/0]).

-type figures() :: atomics:atomics_ref().
-type kind() :: python | timeout | cancelled | worker_down | overload | nested.
%% How a call has failed.
-type latency() :: #{
    count := non_neg_integer(),
    p50_us := non_neg_integer() | undefined,
    p95_us := non_neg_integer() | undefined,
    p99_us := non_neg_integer() | undefined
}.
-type sum() :: #{
    calls := non_neg_integer(),
    errors := #{kind() => non_neg_integer()},
    wait := latency(),
    run := latency(),
    restarts := non_neg_integer(),
    recycles := non_neg_integer()
}.

-type histogram() :: [non_neg_integer()].
%% How many calls took as long as each place says. Two of one pool, the earlier one taken away place by place, are what came between them.

-define(COUNTERS, 9).
-define(BUCKETS, 288).
-define(WAIT, ?COUNTERS).
-define(RUN, (?COUNTERS + ?BUCKETS)).
%% From here on all is one: nineteen hours.
-define(MOST_US, ((1 bsl 36) - 1)).
%% Each is where a power of two begins, so no place stands on both sides: 16 microseconds to 18 minutes.
-define(BOUNDS, [1 bsl Power || Power <- lists:seq(4, 30, 2)]).

-spec new() -> figures().
new() -> atomics:new(?COUNTERS + 2 * ?BUCKETS, [{signed, false}]).

kinds() -> [python, timeout, cancelled, worker_down, overload, nested].

place(ok) -> 1;
place(python) -> 2;
place(timeout) -> 3;
place(cancelled) -> 4;
place(worker_down) -> 5;
place(overload) -> 6;
place(nested) -> 7;
place(restart) -> 8;
place(recycle) -> 9.

%% @doc So many calls have ended so; or a worker has a new interpreter, after a death (`restart') or without one.
-spec count(ok | kind() | restart | recycle, non_neg_integer(), figures()) -> ok.
count(_What, 0, _Figures) -> ok;
count(What, Count, Figures) -> atomics:add(Figures, place(What), Count).

%% @doc A call has waited so long before it began.
-spec waited(Us :: integer(), figures()) -> ok.
waited(Us, Figures) -> atomics:add(Figures, ?WAIT + bucket(Us), 1).

%% @doc So many calls have run so long, each.
-spec ran(Us :: integer(), Count :: non_neg_integer(), figures()) -> ok.
ran(_Us, 0, _Figures) -> ok;
ran(Us, Count, Figures) -> atomics:add(Figures, ?RUN + bucket(Us), Count).

%%% Buckets, from 1

bucket(Us) when Us < 16 -> max(0, Us) + 1;
bucket(Us) when Us > ?MOST_US -> bucket(?MOST_US);
bucket(Us) ->
    Shift = shift(Us),
    %% Eight to fifteen, whatever is shifted out.
    Shift * 8 + (Us bsr Shift) + 1.

%% How many bits stand behind the first four.
shift(Us) when Us < 1 bsl 12 ->
    if
        Us < 1 bsl 5 -> 1;
        Us < 1 bsl 6 -> 2;
        Us < 1 bsl 7 -> 3;
        Us < 1 bsl 8 -> 4;
        Us < 1 bsl 9 -> 5;
        Us < 1 bsl 10 -> 6;
        Us < 1 bsl 11 -> 7;
        true -> 8
    end;
shift(Us) ->
    8 + shift(Us bsr 8).

%% The highest number that has this place.
highest(Bucket) when Bucket =< 16 -> Bucket - 1;
highest(Bucket) ->
    Shift = (Bucket - 9) div 8,
    ((Bucket - 1 - Shift * 8 + 1) bsl Shift) - 1.

%%% What is read out

%% @doc All of these together.
-spec sum([figures()]) -> sum().
sum(All) ->
    Errors = maps:from_list([{Kind, total(place(Kind), All)} || Kind <- kinds()]),
    #{
        calls => total(place(ok), All) + lists:sum(maps:values(Errors)),
        errors => Errors,
        wait => latency(counts(?WAIT, All)),
        run => latency(counts(?RUN, All)),
        restarts => total(place(restart), All),
        recycles => total(place(recycle), All)
    }.

total(Place, All) -> lists:sum([atomics:get(Figures, Place) || Figures <- All]).

counts(Offset, All) -> [total(Offset + Bucket, All) || Bucket <- lists:seq(1, ?BUCKETS)].

%% @doc How long the calls of all of these have waited, and run.
-spec histograms([figures()]) -> {Wait :: histogram(), Run :: histogram()}.
histograms(All) -> {counts(?WAIT, All), counts(?RUN, All)}.

%% @doc What a histogram says in three numbers.
-spec latency(histogram()) -> latency().
latency(Histogram) ->
    Counts = lists:zip(lists:seq(1, ?BUCKETS), Histogram),
    Count = lists:sum(Histogram),
    Quantile = fun(Percent) -> quantile((Count * Percent + 99) div 100, Counts) end,
    #{count => Count, p50_us => Quantile(50), p95_us => Quantile(95), p99_us => Quantile(99)}.

%% @doc How many calls took less than each of these times, and how long all took together, which is within an eighth.
-spec cumulative(histogram()) -> {[{Us :: pos_integer(), non_neg_integer()}], SumUs :: non_neg_integer()}.
cumulative(Histogram) ->
    Counts = [{highest(Bucket), Count} || {Bucket, Count} <- lists:zip(lists:seq(1, ?BUCKETS), Histogram)],
    {cumulative(?BOUNDS, Counts, 0), lists:sum([Us * Count || {Us, Count} <- Counts])}.

cumulative([Bound | Bounds], Counts, Before) ->
    {Below, Rest} = lists:splitwith(fun({Us, _}) -> Us < Bound end, Counts),
    Total = Before + lists:sum([Count || {_, Count} <- Below]),
    [{Bound, Total} | cumulative(Bounds, Rest, Total)];
cumulative([], _Counts, _Before) ->
    [].

quantile(0, _) -> undefined;
quantile(Rank, [{Bucket, Count} | _]) when Rank =< Count -> highest(Bucket);
quantile(Rank, [{_, Count} | Rest]) -> quantile(Rank - Count, Rest).
