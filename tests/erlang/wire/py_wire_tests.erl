%%% Frames as bytes: what goes out is what ErlPort's Python reads, what comes in is routed by its head alone.
-module(py_wire_tests).

-include_lib("eunit/include/eunit.hrl").

%% {Name, frame of an answer, id}: every way to write the head that a Python may choose.
answers() ->
    [
        {"small id, UTF-8 atom", <<131, 104, 3, 119, 1, $r, 97, 7, 97, 42>>, 7},
        {"small id, old atom", <<131, 104, 3, 100, 0, 1, $r, 97, 7, 97, 42>>, 7},
        {"small id, small atom", <<131, 104, 3, 115, 1, $r, 97, 7, 97, 42>>, 7},
        {"id of 4 bytes", <<131, 104, 3, 119, 1, $r, 98, 0, 0, 1, 0, 97, 42>>, 256},
        {"largest id", <<131, 104, 3, 119, 1, $r, 98, 16#7fffffff:32, 97, 42>>, 16#7fffffff},
        {"id 0", <<131, 104, 3, 119, 1, $r, 97, 0, 97, 42>>, 0},
        {"error", <<131, 104, 3, 119, 1, $e, 97, 9, 97, 42>>, 9},
        {"compressed", term_to_binary({r, 7, lists:duplicate(1000, $a)}, [{compressed, 9}]), 7}
    ].

%% {Name, frame that is none}.
requests() ->
    [
        {"call of Erlang", term_to_binary({'C', 1, lists, sum, [[1]], 'N'})},
        {"message", term_to_binary({'M', self(), hello})},
        {"printed text", term_to_binary({'P', "hi\n"})},
        {"error of the message handler", term_to_binary({e, reason})},
        {"3-tuple of another kind", term_to_binary({x, 1, 2})},
        {"negative id", term_to_binary({r, -1 - 16#7fffffff * 8, 2})},
        {"id that is no integer", term_to_binary({r, a, 2})},
        {"compressed request", term_to_binary({'P', lists:duplicate(1000, $a)}, [{compressed, 9}])},
        {"compressed junk", <<131, $P, 0, 0, 0, 9, "junk">>},
        {"cut off in the head", <<131, 104, 3, 119, 1>>},
        {"one byte", <<131>>},
        {"nothing", <<>>},
        {"no term at all", <<"hello, world">>}
    ].

an_answer_is_routed_by_its_id_test_() ->
    [{Name, ?_assertEqual({answer, Id}, py_wire:route(Frame))} || {Name, Frame, Id} <- answers()].

anything_else_is_a_request_test_() ->
    [{Name, ?_assertEqual(request, py_wire:route(Frame))} || {Name, Frame} <- requests()].

routing_reads_no_more_than_the_head_test() ->
    ?assertEqual({answer, 7}, py_wire:route(<<131, 104, 3, 119, 1, $r, 97, 7, "no term follows">>)).

a_call_frame_is_the_term_that_erlport_sends_test_() ->
    [
        ?_assertEqual(
            {'C', Id, Module, Function, Args},
            binary_to_term(iolist_to_binary(py_wire:call(Id, py_wire:body(Module, Function, Args))))
        )
     || Id <- [1, 255, 256, 16#7fffffff],
        {Module, Function, Args} <- [
            {math, sqrt, [2]},
            {'os.path', 'join', [<<"a">>, <<"b">>]},
            {m, f, []},
            {m, f, "small integers are a string on the wire"},
            {m, f, [binary:copy(<<"large">>, 100_000)]},
            {'ünï', 'f', [ü]},
            {'пакет', 'функция', [1]},
            {list_to_atom(lists:duplicate(255, 1024)), f, [1]}
        ]
    ].

a_large_binary_in_the_arguments_is_not_copied_test() ->
    Large = binary:copy(<<"x">>, 1_000_000),
    Body = py_wire:body(m, f, [Large]),
    ?assert(lists:any(fun(Part) -> Part =:= Large end, Body)).

a_body_mentions_the_marker_of_a_reference_test_() ->
    Marker = py_term:reference_shape(),
    Reference = {'$py.ref', self(), 1, 2},
    [
        ?_assertEqual(Expected, py_wire:mentions(py_wire:body(m, f, Args), Marker))
     || {Expected, Args} <- [
            {true, [Reference]},
            {true, [[{a, #{b => Reference}}]]},
            {true, [binary:copy(<<"x">>, 1_000_000), Reference]},
            {true, [Reference, binary:copy(<<"x">>, 1_000_000)]},
            {true, [binary:copy(<<"x">>, 1_000_000), binary:copy(<<"y">>, 1_000_000), Reference]},
            {true, [{bytes, binary:copy(<<"x">>, 1_000_000)}, [Reference, binary:copy(<<"y">>, 1_000_000)]]},
            %% What the bytes of a user say is no reference, and is not searched.
            {false, [binary:copy(term_to_binary(Reference, [{minor_version, 1}]), 100_000)]},
            {false, []},
            {false, [1, 2, 3]},
            {false, [binary:copy(<<"x">>, 1_000_000)]}
        ]
    ].

a_message_frame_is_the_term_that_erlport_sends_test_() ->
    [
        ?_assertEqual({'M', Term}, binary_to_term(iolist_to_binary(py_wire:message(Term))))
     || Term <- [hello, {a, [1, 2]}, "text", binary:copy(<<"x">>, 100_000), 1.5]
    ].

the_answers_to_python_are_terms_of_three_test() ->
    ?assertEqual({r, 3, [1, 2]}, binary_to_term(iolist_to_binary(py_wire:result(3, [1, 2])))),
    ?assertEqual({e, 3, oops}, binary_to_term(iolist_to_binary(py_wire:failure(3, oops)))).

an_answer_is_its_value_or_its_error_test_() ->
    [
        ?_assertEqual(Expected, py_wire:answer(Frame))
     || {Expected, Frame} <- [
            {{ok, 42}, term_to_binary({r, 7, 42})},
            {{error, {python, a, "b", []}}, term_to_binary({e, 7, {python, a, "b", []}})},
            {{ok, "compressed"}, term_to_binary({r, 7, "compressed"}, [compressed])},
            {error, <<131, 104, 3, 119, 1, $r, 97, 7>>},
            {error, <<131, 104, 3, 119, 1, $r, 97, 7, 0, 0, 0>>},
            {error, term_to_binary({x, 7, 42})},
            {error, <<>>}
        ]
    ].

a_large_result_is_the_value_however_its_frame_came_test_() ->
    Large = rand:bytes(100_000),
    Frame = fun(Id) -> term_to_binary({r, Id, Large}) end,
    Inside = fun(Whole) -> binary:part(<<(binary:copy(<<0>>, 500_000))/binary, Whole/binary>>, 500_000, byte_size(Whole)) end,
    [
        ?_assertEqual({ok, Large}, py_wire:answer(Frame(7))),
        ?_assertEqual({ok, Large}, py_wire:answer(Frame(70_000))),
        ?_assertEqual({ok, Large}, py_wire:answer(Inside(Frame(70_000)))),
        ?_assertEqual({error, Large}, py_wire:answer(term_to_binary({e, 7, Large}))),
        ?_assertEqual({ok, {Large, Large}}, py_wire:answer(term_to_binary({r, 7, {Large, Large}}))),
        ?_assertEqual(error, py_wire:answer(<<(Frame(7))/binary, 0>>)),
        ?_assertEqual(error, py_wire:answer(binary:part(Frame(7), 0, 99_000)))
    ].

a_large_result_keeps_little_more_than_itself_test() ->
    Large = rand:bytes(100_000),
    Frame = term_to_binary({r, 70_000, Large}),
    Whole = binary:part(<<(binary:copy(<<0>>, 500_000))/binary, Frame/binary>>, 500_000, byte_size(Frame)),
    [
        begin
            {ok, Value} = py_wire:answer(Each),
            ?assert(binary:referenced_byte_size(Value) < 200_000)
        end
     || Each <- [Frame, Whole]
    ].

a_request_is_what_python_asks_test_() ->
    Pid = self(),
    [
        ?_assertEqual(Expected, py_wire:request(term_to_binary(Term)))
     || {Expected, Term} <- [
            {{call, 1, lists, sum, [[1]], 'N'}, {'C', 1, lists, sum, [[1]], 'N'}},
            {{message, Pid, hello}, {'M', Pid, hello}},
            {{print, "hi\n"}, {'P', "hi\n"}},
            {{handler_error, oops}, {e, oops}},
            {error, {'C', 1, "lists", sum, [], 'N'}},
            {error, {'C', 1, lists, sum, arguments, 'N'}},
            {error, {'C', 1, lists}},
            {error, {unknown, 1}},
            {error, no_tuple}
        ]
    ].

a_request_that_is_no_term_is_an_error_test_() ->
    [?_assertEqual(error, py_wire:request(Frame)) || Frame <- [<<>>, <<131>>, <<131, 104, 2>>, <<"text">>]].

any_bytes_are_routed_and_read_without_a_crash_test_() ->
    {timeout, 30, fun() ->
        %% A fixed seed, so that a failure comes again.
        rand:seed(exsss, {1, 2, 3}),
        Frames = [mutated(Frame) || {_, Frame, _} <- answers(), _ <- lists:seq(1, 500)],
        lists:foreach(
            fun(Frame) ->
                _ = py_wire:route(Frame),
                _ = py_wire:answer(Frame),
                _ = py_wire:request(Frame)
            end,
            Frames
        )
    end}.

%% One byte changed and the end cut off at some place.
mutated(Frame) ->
    At = rand:uniform(byte_size(Frame)) - 1,
    <<Before:At/binary, _, After/binary>> = Frame,
    Changed = <<Before/binary, (rand:uniform(256) - 1), After/binary>>,
    binary:part(Changed, 0, rand:uniform(byte_size(Changed))).

%%% Frames

any_split_of_the_bytes_gives_the_same_frames_test_() ->
    Frames = [term_to_binary(Term) || Term <- [a, {r, 1, 2}, lists:seq(1, 300), <<0:80_000>>, [], #{a => 1}]],
    Stream = iolist_to_binary([py_wire:frame(Frame) || Frame <- Frames]),
    [
        {lists:concat(["in pieces of ", Size]), ?_assertEqual(Frames, split_by(Size, Stream, py_wire:input()))}
     || Size <- [1, 2, 3, 4, 5, 6, 7, 64, 1000, 4095, 9999, 100_000]
    ].

large_frames_are_the_same_however_their_bytes_are_cut_test_() ->
    Frames = [term_to_binary(rand:bytes(Size)) || Size <- [10, 300_000, 8_388_599, 8_388_598, 70_000, 9_000_000, 10]],
    Stream = iolist_to_binary([py_wire:frame(Frame) || Frame <- Frames]),
    [
        {lists:concat(["in pieces of ", Size]), ?_assertEqual(Frames, split_by(Size, Stream, py_wire:input()))}
     || Size <- [65_536, 300_000, 8_388_609, 9_000_000]
    ].

bytes_that_were_split_once_are_split_the_same_again_test() ->
    Frame = term_to_binary(rand:bytes(10_000_000)),
    <<First:4_000_000/binary, Second:3_000_000/binary, Third/binary>> = iolist_to_binary(py_wire:frame(Frame)),
    {ok, <<>>, One} = py_wire:split(First, py_wire:input(), infinity),
    {ok, <<>>, Two} = py_wire:split(Second, One, infinity),
    {ok, <<>>, Again} = py_wire:split(Second, One, infinity),
    {ok, Whole, _} = py_wire:split(Third, Two, infinity),
    ?assertMatch({_, Frame, <<>>}, py_wire:next(Whole)),
    ?assertEqual({ok, Whole, py_wire:input()}, py_wire:split(Third, Again, infinity)).

a_long_stream_of_small_frames_is_split_test() ->
    Frames = [term_to_binary({r, N, N * N}) || N <- lists:seq(1, 5_000)],
    Stream = iolist_to_binary([py_wire:frame(Frame) || Frame <- Frames]),
    ?assertEqual(Frames, split_by(1_021, Stream, py_wire:input())).

bytes_that_begin_no_frame_are_told_at_once_test_() ->
    [
        {Text, ?_assertMatch({error, Head} when byte_size(Head) =< 64, py_wire:split(Bytes, py_wire:input(), infinity))}
     || {Text, Bytes} <- [
            {"a banner", <<"Welcome to Python\n">>},
            {"an empty frame", <<0:32, 0:32>>},
            {"another version", <<4:32, 130, 1, 2, 3>>},
            {"behind a good frame", iolist_to_binary([py_wire:frame(term_to_binary(a)), <<"Traceback (most">>])}
        ]
    ].

split_by(Size, Stream, Input) ->
    case Stream of
        <<Part:Size/binary, Rest/binary>> when Rest =/= <<>> ->
            {ok, Frames, More} = py_wire:split(Part, Input, infinity),
            frames(Frames) ++ split_by(Size, Rest, More);
        Last ->
            {ok, Frames, Left} = py_wire:split(Last, Input, infinity),
            ?assertEqual(py_wire:input(), Left),
            frames(Frames)
    end.

frames(<<>>) -> [];
frames(Frames) ->
    {_, Frame, Rest} = py_wire:next(Frames),
    [Frame | frames(Rest)].

frames_of_one_read_are_given_with_where_they_go_test() ->
    Answer = term_to_binary({r, 7, x}),
    Request = term_to_binary({'P', <<"text">>}),
    {ok, Frames, _} = py_wire:split(iolist_to_binary([py_wire:frame(F) || F <- [Answer, Request]] ++ [<<1, 2>>]), py_wire:input(), infinity),
    ?assertMatch({{answer, 7}, Answer, <<_, _/binary>>}, py_wire:next(Frames)),
    {_, _, Rest} = py_wire:next(Frames),
    ?assertEqual({request, Request, <<>>}, py_wire:next(Rest)).

%% As Python writes it: `{Kind, Id, Value}'.
answer_of(Kind, Id, Value) ->
    <<131, Bytes/binary>> = term_to_binary(Value),
    <<131, 104, 3, 119, 1, Kind, 98, Id:32, Bytes/binary>>.

%% Those that are answers, however their heads are written, among those that are none.
some_frames() ->
    [
        answer_of($r, 7, x), answer_of($r, 16#7fffffff, lists:seq(1, 100)), answer_of($e, 8, oops), term_to_binary({r, 9, x}), term_to_binary({r, 70_000, x}),
        term_to_binary({e, 70_000, x}), term_to_binary({r, 9, lists:seq(1, 1_000)}, [compressed]), <<131, 104, 3, 119, 1, $r, 97, 3, 106>>,
        <<131, 104, 3, 119, 1, $r, 98, 1, 2>>, term_to_binary({'P', "text"}), term_to_binary({r, x, y}), term_to_binary({r, 1}), <<131>>, <<131, 106>>
    ].

next_ones(<<>>) ->
    [];
next_ones(Frames) ->
    case py_wire:next(Frames) of
        {{answer, Id}, Frame, Rest} -> [{Id, py_wire:is_result(Frame), Frame} | next_ones(Rest)];
        {request, Frame, Rest} -> [{request, Frame} | next_ones(Rest)]
    end.

next_answers(<<>>) ->
    [];
next_answers(Frames) ->
    case py_wire:next_answer(Frames) of
        {Id, IsResult, Frame, Rest} ->
            [{Id, IsResult, Frame} | next_answers(Rest)];
        none ->
            {request, Frame, Rest} = py_wire:next(Frames),
            [{request, Frame} | next_answers(Rest)]
    end.

answers_are_found_as_all_frames_are_test_() ->
    [
        fun() ->
            Frames = iolist_to_binary([py_wire:frame(F) || F <- [First, Second, First]]),
            Each = next_ones(Frames),
            ?assertEqual(Each, next_answers(Frames)),
            {Count, Rest} = py_wire:answers(Frames),
            ?assertEqual(lists:nthtail(Count, Each), next_ones(Rest)),
            ?assert(lists:all(fun(One) -> tuple_size(One) =:= 3 end, lists:sublist(Each, Count)))
        end
     || First <- some_frames(), Second <- some_frames()
    ].

answers_of_ours_are_counted_in_one_go_test() ->
    Answers = [answer_of(Kind, Id, Value) || Kind <- [$r, $e], Id <- [1, 300, 16#7fffffff], Value <- [x, [], "text", #{a => 1.5}]],
    Request = py_wire:frame(term_to_binary({'P', "text"})),
    Frames = iolist_to_binary([py_wire:frame(F) || F <- Answers]),
    ?assertEqual({length(Answers), <<>>}, py_wire:answers(Frames)),
    ?assertEqual({length(Answers), iolist_to_binary(Request)}, py_wire:answers(iolist_to_binary([Frames, Request]))).

a_small_result_is_what_the_whole_frame_has_test_() ->
    [
        ?_assertEqual({Value, {ok, Value}}, {element(3, binary_to_term(answer_of($r, 300, Value))), py_wire:answer(answer_of($r, 300, Value))})
     || Value <- [3, -1, 1.5, x, [], "text", <<"bin">>, {a, [b]}, #{a => 1}, 1 bsl 200, lists:seq(1, 44), lists:seq(1, 45), lists:seq(1, 300)]
    ] ++
    [
        ?_assertEqual(error, py_wire:answer(Frame))
     || Frame <- [
            <<(answer_of($r, 300, x))/binary, 0>>,
            <<131, 104, 3, 119, 1, $r, 98, 300:32, 131, 106>>,
            %% A compressed term stands for itself only.
            <<131, 104, 3, 119, 1, $r, 98, 300:32, (binary:part(term_to_binary(lists:duplicate(30, $x), [compressed]), 1, 11))/binary>>,
            iolist_to_binary([<<131, 104, 3, 119, 1, $r, 98, 300:32>>, tl(binary_to_list(term_to_binary(lists:duplicate(300, $x), [compressed])))]),
            <<131, 104, 3, 119, 1, $r, 98, 300:32, 104, 2, 106>>
        ]
    ].

a_call_behind_its_length_is_the_call_test() ->
    Bodies = [py_wire:body(operator, add, [1, 2]), py_wire:body(operator, add, [binary:copy(<<"x">>, 70_000), 2])],
    [
        ?assertEqual(iolist_to_binary(py_wire:frame(py_wire:call(Id, Body))), iolist_to_binary(py_wire:framed_call(Id, Body)))
     || Body <- Bodies, Id <- [1, 16#7fffffff]
    ].

%% With each tag that an atom and a number have, as far as this release writes them.
a_frame_says_the_class_of_its_exception_test_() ->
    Classes = [<<"erl.errors.A">>, <<"erl.errors.B">>],
    Frame = fun(Term, Options) -> term_to_binary(Term, Options) end,
    [
        {lists:flatten(io_lib:format("~0tp ~0tp", [Term, Options])), ?_assertEqual(Expected, py_wire:raises(Frame(Term, Options), Classes))}
     || Options <- [[{minor_version, 1}], [{minor_version, 2}]],
        {Expected, Term} <- [
            {true, {e, 1, {python, 'erl.errors.A', "text", []}}},
            {true, {e, 70_000, {python, 'erl.errors.B', "text", []}}},
            {false, {e, 1, {python, 'erl.errors.C', "text", []}}},
            {false, {r, 1, {python, 'erl.errors.A', "text", []}}},
            {false, {e, 1, {erlang, 'erl.errors.A', "text", []}}},
            {false, {e, 1, {python, <<"erl.errors.A">>, "text", []}}},
            {false, {e, {python, 'erl.errors.A', "text", []}}}
        ]
    ] ++ [?_assertNot(py_wire:raises(binary:part(Frame({e, 1, {python, 'erl.errors.A', "", []}}, []), 0, Size), Classes)) || Size <- [0, 1, 5, 9, 20]].

a_body_has_its_arguments_test() ->
    Args = [1, <<"a">>, {bytes, binary:copy(<<"x">>, 100_000)}, #{a => [b]}],
    ?assertEqual(Args, py_wire:arguments(py_wire:body(m, f, Args))).
