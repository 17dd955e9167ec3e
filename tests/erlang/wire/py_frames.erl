%%% Frames that no good Python sends: each form of the protocol with each of its fields replaced by each kind of value, frames of
%%% real conversations with bytes changed, random terms and random bytes. Whoever asks seeds `rand' and says how.
-module(py_frames).

-export([seeded/1, values/0, forms/1, known/1, odd_forms/1, odd_bytes/0, mutated/1, any_term/1, any_bytes/0, conversations/0, encoded/1]).

%% @doc Seed `rand', from the environment variable PY_SEED where that is set, and say with what.
seeded(Name) ->
    Seed =
        case os:getenv("PY_SEED") of
            false -> erlang:phash2({erlang:system_time(), self()});
            Given -> list_to_integer(Given)
        end,
    _ = rand:seed(exsss, Seed),
    io:format(user, "~n~ts: PY_SEED=~w~n", [Name, Seed]),
    Seed.

%% The number of the call that runs, for whoever writes the frame: INTEGER_EXT.
-define(ID, 16#7a7a7a7a).

%% @doc One of each kind.
values() ->
    [
        0, -1, 255, 1 bsl 40, -(1 bsl 70), 1 bsl 5_000, 1.5, a, '', undefined, 'N', 'L', [], "text", "\e[2J", [16#d800], [a | b],
        ["io", <<"list">>, [$s | "x"]], <<>>, <<"bin">>, <<255, 27>>, <<1:3>>, {}, {a}, {a, b}, {py, timeout}, #{},
        #{a => [1]}, [a, 1], [[[[]]]], lists:duplicate(300, x), fun erlang:halt/0, hd(erlang:ports()), make_ref(), self(),
        {'$py.ref', self(), 1, 1}, {'$py.shm', {node(), <<"0000000000000000-1-1">>, {0, 1}, bytes}},
        {'$erlport.opaque', erlang, <<131, 106>>}, {'$erlport.opaque', python, <<"cos\nsystem\n.">>},
        {python, 'builtins.ValueError', "text", []}
    ].

%% @doc Each form that a good Python sends to this worker process.
forms(Worker) ->
    Opaque = fun(Term) -> {'$erlport.opaque', erlang, term_to_binary(Term)} end,
    [
        {r, ?ID, [1, "two", {3.0}]},
        {e, ?ID, {python, 'builtins.ValueError', "text", [{"file", 1, "f", "source"}, {item, 1}]}},
        {e, ?ID, {python, 'erl.errors.EncodeError', "text", []}},
        {e, ?ID, {python, 'builtins.ValueError', "text", [{cause, 'builtins.KeyError', "k", [{"f", 1, "f", "s"}]}]}},
        {e, ?ID, {erlang, Opaque({error, badarg, [{lists, nth, 2, [{file, "lists.erl"}, {line, 1}]}]})}},
        {e, {python, 'builtins.ValueError', "text", [{"file", 1, "f", "source"}]}},
        {'P', "text"},
        {'P', <<"text">>},
        {'C', 5, lists, sum, [[1, 2]], 'N'},
        {'C', -5, erlang, self, [], 'L'},
        {'M', Worker, {'$py.own', ?ID, [1, 2]}},
        {'M', Worker, {'$py.later', ?ID}},
        {'M', Worker, {'$py.told', 5}},
        {'M', Worker, {'$py.importing', ?ID}},
        {'M', Worker, {'$py.dropped', 5}},
        {'M', Worker, {'$py.log', {warning, "name", "text", "file.py", 3}}},
        {'M', nobody_of_this_name, "message"}
    ].

%% @doc Those that have ended a worker process once.
known(Worker) ->
    [
        {e, ?ID, {py, timeout}},
        {e, {python, x, <<"bin">>, []}},
        {e, {python, x, "text", [<<"frame">>]}},
        {e, {python, x, "text", [{<<"file">>, 1, <<"f">>, <<"source">>}]}},
        {e, {python, x, "text", [a | b]}},
        {e, ?ID, {python, x, <<"bin">>, [{<<"file">>, 1, <<"f">>, <<"source">>} | b]}},
        {'C', 5, erlang, halt, [65 | 66], 'N'},
        {'C', 5, erlang, whereis, [a | b], 'L'},
        {'M', Worker, {'$py.own', ?ID, [1 | 2]}},
        {'M', Worker, {'$py.log', {warning, [a | b], self(), {}, a}}},
        {'M', Worker, {'$gen_call', a, b}},
        {'P', [a | b]}
    ].

%% @doc Each of them with each of its fields, at every depth, replaced by each kind of value; and with a field more or less.
odd_forms(Worker) ->
    Odd = lists:append([at_each_place(Form, Value) || Form <- forms(Worker), Value <- values()]),
    More = [erlang:append_element(Form, a) || Form <- forms(Worker)],
    Less = [erlang:delete_element(tuple_size(Form), Form) || Form <- forms(Worker)],
    Obeyed = [
        {'M', Worker, Message}
     || Message <- [
            {'EXIT', self(), kill}, {'$gen_call', a, b}, {'$gen_call', {self(), [alias | make_ref()]}, info}, {'$gen_cast', a},
            {system, {self(), a}, {terminate, b}}, {system, a, b}, {py_answer, 1, a, b}, {timeout, make_ref(), kill},
            {'DOWN', make_ref(), process, self(), a}, {py_call, a, b, c, d, e}, {py_cancel, a, timeout}, timeout
        ]
    ],
    Inner = [
        {e, ?ID, {erlang, {'$erlport.opaque', erlang, Bytes}}}
     || Bytes <- [term_to_binary(Term) || Term <- at_each_place({error, {tea, [1]}, [{m, f, 1, [{line, 1}]}]}, {py, timeout})] ++
            [<<>>, <<131>>, <<131, 108, 16#ffffffff:32>>, term_to_binary(lists:duplicate(1_000, a), [compressed])]
    ],
    Odd ++ More ++ Less ++ Obeyed ++ Inner.

%% The term itself is no place: what is left of the form must be one that is looked at.
at_each_place(Tuple, Value) when is_tuple(Tuple) ->
    [
        setelement(N, Tuple, Part)
     || N <- lists:seq(1, tuple_size(Tuple)), Part <- [Value | at_each_place(element(N, Tuple), Value)]
    ];
at_each_place([Head | Tail], Value) ->
    [[Part | Tail] || Part <- [Value | at_each_place(Head, Value)]] ++ [[Head | Part] || Part <- at_each_place(Tail, Value)];
at_each_place([], Value) ->
    [Value];
at_each_place(_, _) ->
    [].

%% @doc Frames that `term_to_binary' does not make, and some that are large where they are read.
odd_bytes() ->
    Id = <<98, ?ID:32>>,
    Answer = fun(Bytes) -> <<131, 104, 3, 119, 1, "r", Id/binary, Bytes/binary>> end,
    Pid = <<88, 119, 13, "nobody@nohost", 1:32, 0:32, 7:32>>,
    Deep = iolist_to_binary([lists:duplicate(20_000, <<108, 1:32>>), 106, lists:duplicate(20_000, 106)]),
    Atoms = [<<119, 24, "py_frames_", (integer_to_binary(10_000_000_000_000 + N))/binary>> || N <- lists:seq(1, 3_000)],
    Whole = [
        Answer(<<108, 16#ffffffff:32>>), Answer(<<105, 16#ffffffff:32>>), Answer(<<116, 16#ffffffff:32>>),
        Answer(<<109, 16#ffffffff:32>>), Answer(<<111, 16#ffffffff:32, 0>>), Answer(<<110, 3, 7, 1, 2, 3>>),
        Answer(<<77, 1:32, 9, 255>>), Answer(<<77, 0:32, 8>>), Answer(<<70, 16#7ff0:16, 0:48>>), Answer(<<99, "1.0e", 0:216>>),
        Answer(<<119, 2, 255, 255>>), Answer(<<118, 300:16, (binary:copy(<<"a">>, 300))/binary>>), Answer(<<113, 119, 0>>),
        Answer(<<113, 119, 5, "nomod", 119, 5, "nofun", 97, 3>>), Answer(Pid), Answer(<<104, 1, Pid/binary>>),
        Answer(<<82, 0>>), Answer(<<68, 0>>), Answer(<<80, 100:32, 1, 2, 3>>), Answer(Deep), Answer(<<116, 2:32, 97, 1, 106, 97, 1, 106>>),
        Answer(<<108, 3_000:32, (iolist_to_binary(Atoms))/binary, 106>>),
        Answer(<<108, 1_000_000:32, (binary:copy(<<106>>, 1_000_001))/binary>>),
        <<131>>, <<131, 80>>, <<131, 80, 5:32>>, <<131, 104, 2, 119, 1, "P", 108, 500_000:32, (binary:copy(<<104, 0>>, 500_000))/binary, 106>>,
        <<131, 104, 3, 100, 0, 1, "r", 111, 0:32, 0, 106>>, <<131, 104, 3, 119, 1, "r", 97>>, <<131, 104, 3, 119, 1, "r">>,
        <<131, 105, 3:32, 119, 1, "r", Id/binary, 106>>,
        <<131, 104, 3, 119, 1, "M", Pid/binary, 106>>,
        term_to_binary({r, ?ID, lists:duplicate(100_000, 0)}, [compressed]),
        term_to_binary({'P', lists:duplicate(100_000, 0)}, [compressed]),
        term_to_binary({'P', binary:copy(<<27>>, 900_000)})
    ],
    Whole ++ [<<Frame/binary, 0>> || Frame <- lists:sublist(Whole, 5)].

encoded(Term) -> term_to_binary(Term).

%% @doc What Python says in the conversations that both halves hold.
conversations() ->
    {ok, Directory} = file:get_cwd(),
    {ok, Content} = file:read_file(find(Directory, "tests/vectors/conversations.txt")),
    Rows = [binary:split(Line, <<"\t">>, [global]) || <<Head, _/binary>> = Line <- binary:split(Content, <<"\n">>, [global]), Head =/= $#],
    [binary:decode_hex(Hex) || [_, _, <<"<">>, Hex | _] <- Rows].

find(Directory, Path) ->
    File = filename:join(Directory, Path),
    case filelib:is_regular(File) of
        true -> File;
        false when Directory =/= "/" -> find(filename:dirname(Directory), Path)
    end.

%% @doc A frame with some of its bytes changed, taken away, or doubled; it begins as a term does.
mutated(<<131, Bytes/binary>>) ->
    <<131, (lists:foldl(fun(_, Acc) -> mutation(rand:uniform(4), Acc) end, Bytes, lists:seq(1, rand:uniform(3))))/binary>>.

mutation(_, <<>>) -> <<>>;
mutation(1, Bytes) ->
    {Before, <<_, After/binary>>} = split_binary(Bytes, rand:uniform(byte_size(Bytes)) - 1),
    <<Before/binary, (lists:nth(rand:uniform(12), [0, 1, 97, 98, 104, 106, 107, 108, 109, 110, 119, 255])), After/binary>>;
mutation(2, Bytes) ->
    {Before, <<_, After/binary>>} = split_binary(Bytes, rand:uniform(byte_size(Bytes)) - 1),
    <<Before/binary, (rand:uniform(256) - 1), After/binary>>;
mutation(3, Bytes) ->
    binary:part(Bytes, 0, rand:uniform(byte_size(Bytes)) - 1);
mutation(4, Bytes) ->
    {Before, After} = split_binary(Bytes, rand:uniform(byte_size(Bytes)) - 1),
    <<Before/binary, After/binary, After/binary>>.

%% @doc A random term of this depth at the most.
any_term(0) ->
    lists:nth(rand:uniform(length(values())), values());
any_term(Depth) ->
    Parts = fun() -> [any_term(Depth - 1) || _ <- lists:seq(1, rand:uniform(4) - 1)] end,
    case rand:uniform(6) of
        1 -> list_to_tuple(Parts());
        2 -> Parts();
        3 -> maps:from_list([{Part, Part} || Part <- Parts()]);
        4 -> lists:nth(rand:uniform(length(forms(self()))), forms(self()));
        _ -> any_term(0)
    end.

%% @doc Bytes that may begin as a term does.
any_bytes() ->
    Head = lists:nth(rand:uniform(5), [<<>>, <<131>>, <<131, 104, 3, 119, 1, "r">>, <<131, 104, 2, 119, 1, "P">>, <<131, 104, 6, 119, 1, "C">>]),
    <<Head/binary, (rand:bytes(rand:uniform(40) - 1))/binary>>.
