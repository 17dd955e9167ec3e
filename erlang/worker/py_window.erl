%%% @doc How many calls that are free to go elsewhere a worker writes into the pipe of its interpreter before the first of them is answered. Pure:
%%% is told the time, in microseconds of the monotonic clock. See "Work that moves" in docs/architecture.md.
%%%
%%% It begins at one, grows while calls are short, and is small again after a slow one or a pause: what was written
%%% can't always be taken back.
%%% @private
-module(py_window).

-export([new/0, tiny/3, fill/2, began/2, goes_on/2, answered/3, room/3, room_of_threads/3, is_old/2, since/1]).
-export_type([window/0, us/0]).

-type us() :: integer().
-record(window, {
    size = 1 :: pos_integer(),
    %% Since when the oldest call has had Python to itself: it was written to an empty pipe, or the one before it was answered then.
    since = 0 :: us(),
    %% How long each of the last ones took, where they were short.
    each = 0 :: us(),
    %% How many of them may be written in any case, as Python says that they are tiny.
    least = 0 :: non_neg_integer()
}).
-opaque window() :: #window{}.

%% A call that has taken longer is slow: nothing more is written behind it.
-define(OLD_US, 1_000).
%% Where calls are tiny it is rather the machine that is busy.
-define(OLD_TINY_US, 5_000).
%% Answers to short calls come together, so many at the most, and are waited for so long.
-define(BATCH, 256).
-define(MOST_BATCH_US, 2_000).
%% Answers that are closer to each other are those of short calls.
-define(SHORT_US, 500).
-define(SLOW_US, 2_000).
%% Of calls of about a millisecond the next one is at hand, which Python would have to wait for otherwise.
-define(NEXT, 2).
%% So much of what is short stands in the pipe at the most.
-define(MOST_US, 10_000).
%% Callers that all have their answers may be long in coming back, where they are many.
-define(PAUSE_US, 20_000).
-define(TOGETHER, 4).

%% So many calls that wait for Erlang have others run in their place.
-define(MOST_ASKING, 256).

%% A call that takes longer is worth another worker's waking.
-define(TINY_NS, 30_000).
%% So much of them is in hand at the most, and so many.
-define(MOST_NS, 1_000_000).
-define(MOST_CALLS, 128).
%% Fewer calls since the last look fill nobody.
-define(LEAST_CALLS, 16).

-spec new() -> window().
new() -> #window{}.

%% @doc Calls are tiny: at least so many may be written; 0: they are not.
-spec fill(non_neg_integer(), window()) -> window().
fill(Least, Window) -> Window#window{least = Least}.

%% @doc A call is written to a pipe that has none.
-spec began(us(), window()) -> window().
began(Now, #window{since = Since, least = Least}) when Now - Since > ?PAUSE_US -> #window{since = Now, least = Least};
began(Now, Window) -> Window#window{since = Now}.

%% @doc The same where it has waited for those before it: there was no pause, however long this process has not run.
-spec goes_on(us(), window()) -> window().
goes_on(Now, Window) -> Window#window{since = Now}.

%% @doc So many were answered, together.
-spec answered(Count :: pos_integer(), us(), window()) -> window().
answered(Count, Now, #window{size = Size, since = Since, least = Least} = Window) ->
    case max(1, Now - Since) of
        Took when Took < ?SHORT_US * Count ->
            More = max(1, min(Size + Count, ?MOST_US * Count div Took)),
            #window{size = More, since = Now, each = Took div Count, least = Least};
        %% Python writes what it has before a call that may be slow: what comes together is short, and the machine was busy.
        _ when Count >= ?TOGETHER -> Window#window{since = Now};
        %% It makes a single answer late as well.
        Took when Took < ?SLOW_US -> #window{size = max(?NEXT, Size div 2), since = Now, least = Least};
        _ -> #window{since = Now, least = Least}
    end.

%% @doc How many more may be written where so many are open.
-spec room(Open :: non_neg_integer(), us(), window()) -> non_neg_integer().
room(0, _Now, #window{size = Size, least = Least}) ->
    max(Size, Least);
room(Open, Now, #window{size = Size, least = Least} = Window) when Open < Size; Open < Least ->
    case is_old(Now, Window) of
        true -> 0;
        false -> max(Size, Least) - Open
    end;
room(_Open, _Now, _Window) ->
    0.

%% @doc Since when the oldest call has had Python to itself.
-spec since(window()) -> us().
since(#window{since = Since}) -> Since.

%% @doc The same where calls run in so many threads: as many more, so that each has the next one at hand. Those that wait for Erlang
%% take no thread, unless they are very many.
-spec room_of_threads(Open :: non_neg_integer(), Asking :: non_neg_integer(), Threads :: pos_integer()) -> non_neg_integer().
room_of_threads(Open, Asking, Threads) -> max(0, 2 * Threads + min(?MOST_ASKING, Asking) - Open).

%% @doc Whether the oldest call, if there is one, is slow.
-spec is_old(us(), window()) -> boolean().
is_old(Now, #window{since = Since, least = Least}) when Least > 0 -> Now - Since > ?OLD_TINY_US;
is_old(Now, #window{since = Since, each = Each}) -> Now - Since > ?OLD_US + min(?MOST_BATCH_US, ?BATCH * Each).

%% @doc How many calls may be in hand, where Python had begun so many calls, and ended so many short ones in so many nanoseconds, the last
%% time and now.
-spec tiny(py_interpreter:paced(), py_interpreter:paced(), Kept :: non_neg_integer()) -> non_neg_integer().
tiny({Before, _, _}, {Begun, _, _} = Paced, Kept) when Begun < Before ->
    tiny({0, 0, 0}, Paced, Kept);
tiny({BegunBefore, ShortBefore, NsBefore}, {Begun, Short, Ns}, 0) when
    Begun - BegunBefore >= ?LEAST_CALLS, (Short - ShortBefore) * 8 >= (Begun - BegunBefore) * 7
->
    case max(1, (Ns - NsBefore) div (Short - ShortBefore)) of
        Tiny when Tiny =< ?TINY_NS -> min(?MOST_CALLS, ?MOST_NS div Tiny);
        _ -> 0
    end;
tiny(_Before, _Paced, _Kept) ->
    0.
