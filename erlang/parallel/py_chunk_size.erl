%%% @doc How a list is cut into chunks, and what is done about one that failed: the decisions of {@link py_chunks}. Pure.
%%%
%%% A chunk is one call of Python, so it has to be long enough for the cost of a call not to count, and short enough for
%%% all workers to end at nearly the same time. Where the size is not given, it begins at one item and follows what is
%%% measured; towards the end of the list the chunks become smaller again. Where the way to the workers is so long that they
%%% wait for the next chunk, chunks become longer.
%%% @private
-module(py_chunk_size).

-export([window/2, new/2, measured/5, next/3, for_reduce/2, cut/3, again/3]).
-export_type([size/0]).

-type size() :: {given, pos_integer()} | {chosen, pos_integer(), Target :: pos_integer(), PerWorker :: pos_integer()}.
%% `chosen' is bounded by what is left of the list, `given' is not; `Target' is the time that a chunk should need, in
%% microseconds, `PerWorker' how many of them a worker has in hand.

%% Some hundred times what a call costs, and short against the time that anybody waits.
-define(TARGET_US, 15_000).
-define(LONGEST_TARGET_US, 100_000).
-define(TARGET_BYTES, (1 bsl 20)).
-define(MOST_ITEMS, 8_192).
-define(MOST_GROWTH, 16).
-define(FIRST_DELAY_MS, 10).
-define(LONGEST_DELAY_MS, 1_000).

%% @doc How many calls are in hand at the same time.
-spec window(Workers :: non_neg_integer(), PerWorker :: pos_integer()) -> pos_integer().
window(Workers, PerWorker) -> max(1, Workers) * PerWorker.

%% @doc The size to begin with, for the options `chunk' and `window'.
-spec new(undefined | pos_integer(), PerWorker :: pos_integer()) -> size().
new(undefined, PerWorker) -> {chosen, 1, ?TARGET_US, PerWorker};
new(Given, _PerWorker) -> {given, Given}.

%% @doc The size after a chunk of `Count' items, whose function ran for so many microseconds, which was back after so many,
%% and whose items and results have so many bytes.
-spec measured(
    Count :: pos_integer(), RanUs :: non_neg_integer(), BackUs :: non_neg_integer(), Bytes :: non_neg_integer(), size()
) ->
    size().
measured(Count, RanUs, BackUs, Bytes, {chosen, Before, Target, PerWorker}) ->
    Longer = target(RanUs, BackUs, Target, PerWorker),
    InTime = Count * Longer div max(1, RanUs),
    InBytes = Count * ?TARGET_BYTES div max(1, Bytes),
    Grown = max(Before, Count) * ?MOST_GROWTH,
    {chosen, max(1, lists:min([InTime, InBytes, Grown, ?MOST_ITEMS])), Longer, PerWorker};
measured(_Count, _RanUs, _BackUs, _Bytes, {given, _} = Size) ->
    Size.

%% A worker that had always something to do brings a chunk back when it has done those that it had in hand; a fifth more may
%% be chance.
target(RanUs, BackUs, Target, PerWorker) when 5 * BackUs > 6 * PerWorker * RanUs ->
    max(Target, min(BackUs div PerWorker, ?LONGEST_TARGET_US));
target(_RanUs, _BackUs, Target, _PerWorker) ->
    Target.

%% @doc How many of the items that are left make the next chunk. Half of an even share at most: who gets slow items must
%% not have many.
-spec next(size(), Left :: pos_integer(), Window :: pos_integer()) -> pos_integer().
next({given, Size}, Left, _Window) -> min(Size, Left);
next({chosen, Size, _Target, _PerWorker}, Left, Window) -> min(Size, share(Left, 2 * Window)).

%% @doc The size for a reduction, where the option `chunk' does not say. The results of the chunks are reduced by one
%% worker alone, so there are few of them.
-spec for_reduce(Total :: non_neg_integer(), Window :: pos_integer()) -> size().
for_reduce(Total, Window) -> {given, min(?MOST_ITEMS, max(2, share(Total, 2 * Window)))}.

share(Count, Parts) -> (Count + Parts - 1) div Parts.

%% @doc The next items, at most so many, and where the size is chosen here no more than about a megabyte: those that were
%% measured may have been smaller. Then the rest. References of two workers never meet in a chunk: a call goes to one.
-spec cut(size(), Most :: pos_integer(), [term(), ...]) -> {Count :: pos_integer(), [term(), ...], [term()]}.
cut({given, _}, Most, [Item | Rest]) -> cut(Most - 1, Rest, home(Item), infinity, 1, [Item]);
cut({chosen, _, _, _}, Most, [Item | Rest]) -> cut(Most - 1, Rest, home(Item), ?TARGET_BYTES - bytes(Item), 1, [Item]).

cut(0, Rest, _Home, _Bytes, Count, Acc) ->
    {Count, lists:reverse(Acc), Rest};
cut(_Left, [], _Home, _Bytes, Count, Acc) ->
    {Count, lists:reverse(Acc), []};
%% So many that they would count are not in a chunk.
cut(Left, [Item | Rest], Home, Bytes, Count, Acc) when is_number(Item); is_atom(Item) ->
    cut(Left - 1, Rest, Home, Bytes, Count + 1, [Item | Acc]);
cut(Left, [Item | Rest] = Items, Home, Bytes, Count, Acc) ->
    case {home(Item), less(Bytes, Item)} of
        {_, Over} when Over < 0 -> {Count, lists:reverse(Acc), Items};
        {Same, Room} when Same =:= none; Same =:= Home -> cut(Left - 1, Rest, Home, Room, Count + 1, [Item | Acc]);
        {First, Room} when Home =:= none -> cut(Left - 1, Rest, First, Room, Count + 1, [Item | Acc]);
        _ -> {Count, lists:reverse(Acc), Items}
    end.

less(infinity, _Item) -> infinity;
less(Bytes, Item) -> Bytes - bytes(Item).

bytes(Item) when is_bitstring(Item) -> byte_size(Item);
bytes(Item) -> erlang:external_size(Item).

home(Item) when is_number(Item); is_atom(Item); is_bitstring(Item) ->
    none;
home(Item) ->
    case py_term:references(Item) of
        [] -> none;
        [{_, Worker, _, _} | _] -> Worker
    end.

%% @doc Whether a call that may be repeated is made again after this error, and after how many milliseconds. `Retries' were
%% made before.
-spec again(
    py_error:python_error() | {py, py_error:reason()} | term(), Retries :: non_neg_integer(), Most :: non_neg_integer()
) ->
    {again, Milliseconds :: pos_integer()} | give_up.
again(Error, Retries, Most) when Retries < Most ->
    case is_passing(Error) of
        true -> {again, min(?LONGEST_DELAY_MS, ?FIRST_DELAY_MS bsl min(Retries, 10))};
        false -> give_up
    end;
again(_Error, _Retries, _Most) ->
    give_up.

%% What another worker, or the same one later, may do better.
is_passing({py, {worker_down, _}}) -> true;
is_passing({py, {node_down, _}}) -> true;
is_passing({py, overload}) -> true;
is_passing(_) -> false.
