%%% How lists are cut, and what is tried again: tables.
-module(py_chunk_size_tests).

-include_lib("eunit/include/eunit.hrl").

-define(MOST, 8_192).

window_test_() ->
    [?_assertEqual(Window, py_chunk_size:window(Workers, PerWorker))
     || {Workers, PerWorker, Window} <- [{1, 1, 1}, {2, 2, 4}, {8, 3, 24}, {0, 2, 2}]].

what_is_given_is_kept_test() ->
    Size = py_chunk_size:new(7, 2),
    ?assertEqual({given, 7}, Size),
    ?assertEqual(Size, py_chunk_size:measured(7, 10_000_000, 90_000_000, 1 bsl 40, Size)).

what_is_chosen_begins_with_one_item_test() -> ?assertMatch({chosen, 1, 15_000, 3}, py_chunk_size:new(undefined, 3)).

%% {items, their microseconds, their bytes, the size before, the size after}.
measured_test_() ->
    [
        {lists:flatten(io_lib:format("~w items in ~w us", [Count, Us])),
            ?_assertEqual(chosen(After), py_chunk_size:measured(Count, Us, 2 * Us, Bytes, chosen(Before)))}
     || {Count, Us, Bytes, Before, After} <- [
            %% It grows by sixteen at most,
            {1, 0, 0, 1, 16},
            {1, 100, 10, 1, 16},
            {16, 1, 10, 16, 256},
            %% also by a small chunk that is done late,
            {1, 1, 10, 256, 4_096},
            %% to fifteen milliseconds,
            {16, 1_600, 100, 16, 150},
            {1_000, 15_000, 100, 1_000, 1_000},
            {1_000, 60_000, 100, 1_000, 250},
            {1, 15_000, 10, 1, 1},
            {1, 15_001, 10, 1, 1},
            {5, 10_000_000, 10, 5, 1},
            %% or a megabyte,
            {16, 100, 1 bsl 20, 16, 16},
            {16, 100, 1 bsl 22, 16, 4},
            {1, 100, 1 bsl 30, 1, 1},
            %% or so many items.
            {?MOST, 10, 10, ?MOST, ?MOST}
        ]
    ].

chosen(Items) -> {chosen, Items, 15_000, 2}.

%% {microseconds that the function ran, until it was back, chunks of a worker, the target before, after}.
target_test_() ->
    [
        {lists:flatten(io_lib:format("~w us of ~w, ~w in hand", [Ran, Back, PerWorker])), fun() ->
            {chosen, _, Target, PerWorker} = py_chunk_size:measured(1, Ran, Back, 1, {chosen, 1, Before, PerWorker}),
            ?assertEqual(After, Target)
        end}
     || {Ran, Back, PerWorker, Before, After} <- [
            %% The worker had something to do all the time,
            {15_000, 30_000, 2, 15_000, 15_000},
            {15_000, 36_000, 2, 15_000, 15_000},
            %% or waited for the way there and back.
            {10_000, 50_000, 2, 15_000, 25_000},
            {25_000, 65_000, 2, 25_000, 32_500},
            {10_000, 50_000, 5, 15_000, 15_000},
            %% A short way is made up for by fifteen milliseconds, a very long one by a hundred.
            {1, 4_000, 2, 15_000, 15_000},
            {1, 10_000_000, 2, 15_000, 100_000},
            %% It never becomes shorter.
            {40_000, 40_000, 1, 50_000, 50_000}
        ]
    ].

%% {size, items left, window, items of the next chunk}.
next_test_() ->
    [?_assertEqual(Next, py_chunk_size:next(Size, Left, Window))
     || {Size, Left, Window, Next} <- [
            {{given, 5}, 100, 4, 5},
            {{given, 5}, 3, 4, 3},
            {{given, 100}, 100, 4, 100},
            {chosen(1), 1, 4, 1},
            {chosen(100), 8_000, 4, 100},
            {chosen(100), 800, 4, 100},
            {chosen(100), 792, 4, 99},
            {chosen(100), 80, 4, 10},
            {chosen(100), 9, 4, 2},
            {chosen(100), 8, 4, 1},
            {chosen(100), 1, 1, 1}
        ]].

%% However fast the items seem, the last chunks are small, and every item is in one.
the_chunks_of_a_list_test_() ->
    [?_test(begin
        Chunks = chunks(chosen(?MOST), Total, Window),
        ?assertEqual(Total, lists:sum(Chunks)),
        ?assert(lists:all(fun(Chunk) -> Chunk >= 1 end, Chunks)),
        ?assertEqual(Chunks, lists:reverse(lists:sort(Chunks))),
        ?assertEqual(1, lists:last(Chunks)),
        ?assert(hd(Chunks) * Window =< max(Window, Total))
    end) || Total <- [1, 2, 3, 10, 1_000, 100_000, 1_000_000], Window <- [1, 4, 32]].

chunks(_Size, 0, _Window) -> [];
chunks(Size, Left, Window) ->
    Next = py_chunk_size:next(Size, Left, Window),
    [Next | chunks(Size, Left - Next, Window)].

for_reduce_test_() ->
    [?_assertEqual({given, Size}, py_chunk_size:for_reduce(Total, Window))
     || {Total, Window, Size} <- [
            {0, 4, 2}, {1, 4, 2}, {8, 4, 2}, {16, 4, 2}, {17, 4, 3}, {80, 4, 10}, {65_536, 4, ?MOST}, {1_000_000, 4, ?MOST}
        ]].

cut_test_() ->
    {A, B} = {ref(self(), 1), ref(whereis(init), 2)},
    [?_assertEqual({length(Chunk), Chunk, Rest}, py_chunk_size:cut(Kind, Size, Chunk ++ Rest))
     || Kind <- [chosen(1), {given, 1}], {Size, Chunk, Rest} <- [
            {1, [1], [2, 3]},
            {3, [1, 2, 3], []},
            {9, [a, 1.0, <<"b">>, <<1:3>>, {}, [], "text", #{}], []},
            {2, [[], {x}], [y]},
            %% References of two workers are kept apart, those of one are not, at any depth.
            {9, [A, A, 1, {x, [A]}, #{k => A}], []},
            {9, [1, A, 2], [B, 3]},
            {9, [B], [A, B]},
            {9, [[1, {B}]], [[A]]}
        ]].

%% {items of a chunk that is chosen here, the rest}: however small those were that were measured.
cut_by_bytes_test_() ->
    Large = binary:copy(<<0>>, 1 bsl 19),
    Huge = binary:copy(<<0>>, 1 bsl 21),
    [
        begin
            Items = Chunk ++ Rest,
            [
                ?_assertEqual({length(Chunk), Chunk, Rest}, py_chunk_size:cut(chosen(?MOST), ?MOST, Items)),
                %% What is asked for is given.
                ?_assertEqual({length(Items), Items, []}, py_chunk_size:cut({given, ?MOST}, ?MOST, Items))
            ]
        end
     || {Chunk, Rest} <- [
            {[Huge], [Huge]},
            {[1, 2, 3], [Huge, 4]},
            {[Large, Large], [Large, Large]},
            {[Large, Large, 1], [<<1>>]},
            {[{bytes, Large}], [{bytes, Large}, 1]},
            {lists:duplicate(?MOST, 1.5), []}
        ]
    ].

ref(Worker, Id) -> {'$py.ref', Worker, 1, Id}.

%% {error, retries made, most, what is done}.
again_test_() ->
    Down = {py, {worker_down, {signal, 9, ""}}},
    [?_assertEqual(Done, py_chunk_size:again(Error, Retries, Most))
     || {Error, Retries, Most, Done} <- [
            {Down, 0, 0, give_up},
            {Down, 0, 1, {again, 10}},
            {Down, 1, 1, give_up},
            {Down, 1, 3, {again, 20}},
            {Down, 2, 3, {again, 40}},
            {Down, 1_000, 10_000, {again, 1_000}},
            {{py, {worker_down, restarting}}, 0, 1, {again, 10}},
            {{py, {node_down, n@h}}, 0, 1, {again, 10}},
            {{py, overload}, 0, 1, {again, 10}},
            {{py, timeout}, 0, 9, give_up},
            {{py, cancelled}, 0, 9, give_up},
            {{py, {protocol, x}}, 0, 9, give_up},
            {{py, {encode, "x"}}, 0, 9, give_up},
            {{py, {unknown_pool, p}}, 0, 9, give_up},
            {{python, 'builtins.OSError', "x", []}, 0, 9, give_up}
        ]].
