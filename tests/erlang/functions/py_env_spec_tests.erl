%%% What environments are asked to be: lines that are one requirement, and those that are something else, too.
-module(py_env_spec_tests).

-include_lib("eunit/include/eunit.hrl").

-define(GOOD, [
    "six", "six==1.17.0", "pandas>1, <3", "scikit-learn==1.2.0", "numpy>=1.26,<3", "requests[socks,security]>=2", "requests [socks] >= 2", "a", "A.b_c-D",
    "six (>=1.0)", "six~=1.0", "six===1.0-local", "six==1.*", "six!=1.0+cpu", "torch==2.1.0+cpu",
    "tomli; python_version < '3.11'", "tomli>=1;python_full_version<\"3.11.0a6\"", "six ; sys_platform == 'linux' and (os_name == \"posix\" or platform_machine in 'x86_64 arm')"
]).
-define(BAD, [
    "", " ", "-e .", "-r requirements.txt", "--index-url=https://evil", "-c x", "six --hash=sha256:aa", "six --index-url https://evil", "six -e .", "six\n-r other",
    "six\r--pre", "six \\", "six # comment", "./six", "/six", "../six", "six/../x", "six @ git+ssh://host/x", "git+https://host/x", "https://host/six.whl",
    "six;", "six; -e .", "six; python_version > ' -e .'", "six; $(id)", "${HOME}", "six==${X}", "six=1", "six==", "six,", "[x]", "six[", "six[a", "-", ".six", "six-", "sïx",
    "six; python_version < '3.11", [0], "six" ++ [0], "six\tseven", "six seven", "six @ ", "six @ file:///x y", lists:duplicate(2_000, $a),
    "six; " ++ lists:duplicate(900, $a) ++ "!"
]).

each_of_these_is_one_requirement_test_() ->
    [{Line, ?_assertEqual({ok, [unicode:characters_to_binary(Line)]}, requirements([Line]))} || Line <- lists:droplast(?GOOD)].

none_of_these_is_test_() ->
    [{lists:flatten(io_lib:format("~0tp", [Line])), ?_assertMatch({error, {py, {env, _}}}, requirements([Line]))} || Line <- ?BAD].

requirements(Lines) -> requirements(Lines, #{}).

requirements(Lines, Options) ->
    case py_env_spec:check(Options#{requirements => Lines}) of
        {ok, #{requirements := Requirements}} -> {ok, Requirements};
        Other -> Other
    end.

white_space_and_order_and_doubles_make_no_difference_test() ->
    ?assertEqual({ok, [<<"iniconfig">>, <<"six">>]}, requirements([" six ", <<"iniconfig">>, "six"])).

a_url_is_one_where_they_are_allowed_test_() ->
    Allowed = #{allow_urls => true},
    [?_assertMatch({ok, [_]}, requirements([Url], Allowed)) || Url <- ["six @ https://host/six.whl", "six[a]@file:///tmp/six.whl", "six @ https://host/x ; os_name == 'posix'"]] ++
        [?_assertMatch({error, {py, {env, _}}}, requirements([Url])) || Url <- ["six @ https://host/six.whl", "six @ file:///etc"]] ++
        [?_assertMatch({error, {py, {env, _}}}, requirements([Url], Allowed)) || Url <- ["six @ https://${HOME}", "six @ https://host/x -e .", "six @ ssh://host/x", "six @ https://host/x #sha"]].

more_than_a_thousand_are_refused_test() ->
    ?assertMatch({error, {py, {env, _}}}, requirements(lists:duplicate(100_000, <<"six">>))).

what_is_no_list_of_texts_is_no_option_test_() ->
    [?_assertMatch({bad_option, _}, py_env_spec:check(#{requirements => Value})) || Value <- ["six", <<"six">>, six, [<<"a">> | b], #{}]] ++
        [?_assertMatch({error, {py, {env, _}}}, requirements([Value])) || Value <- [1.0, {a}, <<255>>, [[[$a | b]]], #{}]] ++
        [?_assertMatch({bad_option, _}, py_env_spec:check(Value)) || Value <- [#{python_version => 3.11}, #{unknown => 1}, #{timeout => soon}, [], #{allow_urls => 1}]].

versions_test_() ->
    Version = fun(Text) -> {ok, #{python_version := Binary}} = py_env_spec:check(#{python_version => Text}), py_env_spec:version(Binary) end,
    [
        ?_assertEqual({9, any}, Version('PYTHON3_9')), ?_assertEqual({11, any}, Version("PYTHON3_11")), ?_assertEqual({12, any}, Version(<<"3.12">>)),
        ?_assertEqual({12, 1}, Version("3.12.1")), ?_assertEqual(any, Version(undefined))
    ] ++ [?_assertMatch({error, {py, {env, _}}}, py_env_spec:check(#{python_version => Text})) || Text <- ["2.7", "PYTHON4_1", "3", "3.x", "/usr/bin/python3", "3.11;id"]].

%% Versions as they are chosen; no interpreter is asked.
pythons() -> [#{path => "p10", version => {3, 10, 13}}, #{path => "p11a", version => {3, 11, 2}}, #{path => "p11b", version => {3, 11, 7}}, #{path => "p13", version => {3, 13, 0}}].

chosen(Version) ->
    case py_env_pythons:choose(Version, pythons()) of
        {ok, #{path := Path}, Warnings} -> {Path, length(Warnings)};
        {error, _} -> error
    end.

the_version_or_the_lowest_that_is_not_older_test_() ->
    [
        ?_assertEqual({"p10", 1}, chosen({9, any})), ?_assertEqual({"p10", 0}, chosen({10, any})), ?_assertEqual({"p11b", 0}, chosen({11, any})),
        ?_assertEqual({"p11a", 0}, chosen({11, 2})), ?_assertEqual({"p11b", 1}, chosen({11, 5})), ?_assertEqual({"p13", 1}, chosen({12, any})), ?_assertEqual(error, chosen({14, any}))
    ].

newer_than_all_lists_them_test() ->
    {error, Text} = py_env_pythons:choose({99, any}, pythons()),
    [?assertNotEqual(nomatch, string:find(Text, Part)) || Part <- ["3.99", "3.10.13 (p10)", "3.13.0 (p13)"]].

a_secret_in_a_url_is_not_shown_test() ->
    ?assertEqual(<<"from https://***@host/simple, http://***@b">>, py_env_spec:masked(<<"from https://me:secret@host/simple, http://x@b">>)).

%% Each has these two, and the package's own table of dependencies names them.
what_each_has_is_what_the_package_needs_test() ->
    {ok, Text} = file:read_file(filename:join(py_checkout:root(), "python/pyproject.toml")),
    {match, [Table]} = re:run(Text, "^dependencies = \\[\\s*([^\\]]*)\\]", [multiline, {capture, all_but_first, binary}]),
    ?assertEqual(lists:sort(py_env_spec:own_requirements()), lists:sort([string:trim(Each, both, " \n\",") || Each <- binary:split(Table, <<",\n">>, [global, trim_all]), string:trim(Each) =/= <<>>])).
